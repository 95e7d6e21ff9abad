"""What fleetsync knows and decides, as values and functions of values.

Nothing here waits, reads or writes, looks at a clock, throws dice or logs: time and chance come in as
arguments, what is worth saying goes out in the result. import-linter checks it.
"""
