"""What listing, storing and comparing cost, as ratios to what a hand-written script needs for the same.

`make bench` runs everything in `benchmarks/` and prints tables for the README. Nothing here is part of `make test`:
figures depend on the machine, ratios of one run do not.

`contest` is the frame: contestants take turns, each a process of its own, and what each spent is measured by the
kernel. `standin` is the service, so cheap that it is not what is measured. `floor` is the script written by hand.
"""
