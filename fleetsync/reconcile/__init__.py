"""One pass over one source: list, mirror, plan, apply (`cycle.py`).

- Nothing is gone unless complete listings of its own type say so, or one and the service's own "not found".
- A safety limit stands before every write that it guards.
- A cycle that is cut short leaves the mirror correct but older.
- A second cycle with nothing new writes nothing to the service and nothing to the history.
"""
