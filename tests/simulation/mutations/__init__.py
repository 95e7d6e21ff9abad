"""Deliberate breaks of the real code, one patch each, to see that the simulation notices.

A patch `P<number>-<what>.patch` begins with lines of `#`: what it breaks, and the seed that is known to catch it. It is
applied to a copy of the package, in a folder of its own, and there histories are run until a predicate of the promise
that it breaks says so. A copy without any patch has to pass the same seeds.

    make mutations                         # all of them, from seed 0 on, 200 seeds at most
    make mutations MORE="P1-one-listing-is-enough P7"
"""
