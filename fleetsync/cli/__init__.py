"""The command line: the only part that prints.

- A command starts quickly: what these modules import on top is light, and a command imports the rest when it runs.
- Standard output holds what was asked for and nothing else; progress, remarks and errors go to standard error.
- An error is one line; the exit code is that of its class (`fleetsync.errors`).
- What `--json` prints is a contract; the functions that make it say what is in it.
- On a terminal texts from outside are escaped; nothing is coloured, drawn or cut anywhere else.
"""
