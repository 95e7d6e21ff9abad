"""The whole program on a virtual clock: a seed is a history, the same one every time.

What runs is ours as it is: the daemon as `wiring` makes it, its loops, providers, transport layers with their client,
the mirror on SQLite. Around it nothing is real: the event loop has no sockets and no threads and jumps to the next
timer (`loop`); the client gets a session that is a network in this process (`network`); services are the built-in
simulators (`place`, one file per kind; `places` lists them); operators, devices, faults and kills come from the seed
(`mischief`, and every sort of it in `episodes`). Most histories are brief, some last for days (`sizes`). What is
replaced in the process is in `run`: threads (`database`, `tests.fakes.inline`), and `open_session`. Not here: sign-in
with Entra ID, which is another library's HTTP; the control socket, whose commands are given to the daemon directly;
TLS and name lookup, whose errors the network raises.

A process of ours may be killed at any turn of the loop, before and after every call of the database and every step of a
request (`process`); what SQLite had committed then is what the next one finds.

Promises are predicates, checked all the time: `listings` (P1, P2, P11), `writing` (P3, P4, P5, P9), `rates` (P7), `world`
and `history` (the others, and that everything converges when the mischief is over).

    make simulate SEEDS=50000              # prints a table; a sort of mischief that never happened fails
    make simulate START=1059 SEEDS=1 MORE=--log

Besides chance there are scenarios (`scenarios`) in which a process crashes at every point there is (`crash_points`).

    python -m tests.simulation --crashes   # prints how many points each scenario has; one with none fails

What a seed found in the product has a test of its own there; a seed that failed once is in `test_histories`. A new kind of service is one subclass of `Place`.
"""
