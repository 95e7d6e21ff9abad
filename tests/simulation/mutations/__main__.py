"""Try every break: `python -m tests.simulation.mutations [NAME...]`; a name may be the beginning of one.

Prints which seed caught it and what the predicate said. The exit code is 1 where one was not caught.
"""

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed

from tests.simulation.mutations.patching import Patch, note, patches
from tests.simulation.mutations.running import Caught, hunt
from tests.simulation.sizes import BRIEF, size_of

SEEDS = tuple(sorted(range(200), key=lambda seed: size_of(seed) is not BRIEF))
"""The brief ones first."""


def main() -> int:
    """Run them and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutations", description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--note", action="store_true", help="note the seeds in the patches: the tests try these first")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    chosen = [patch for patch in patches() if not asked.names or patch.name.startswith(tuple(asked.names))]
    missed = 0
    with ThreadPoolExecutor(asked.jobs) as pool:
        going = {pool.submit(hunt, patch, SEEDS[: asked.seeds]): patch for patch in chosen}
        for done in as_completed(going):
            patch, caught = going[done], done.result()
            missed += caught.seed is None
            _say(patch, caught)
            if asked.note and caught.seed is not None:
                note(patch, caught.seed)
    return 1 if missed else 0


def _say(patch: Patch, caught: Caught) -> None:
    where = "NOT CAUGHT" if caught.seed is None else f"seed {caught.seed}"
    before = f" (others before: {', '.join(caught.others)})" if caught.others else ""
    sys.stdout.write(f"{patch.promise:<4} {patch.name:<44} {where:<10} {caught.said[:160]}{before}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
