"""Run many histories: `python -m tests.simulation --seeds 2000 --start 0`.

All processors work. A seed that fails says what broke and how to see it again: `--start SEED --seeds 1 --log` prints
what the daemon logged, too. The exit code is 1 when a promise was broken, and when something that should have gone
wrong never did, or a promise was never put to the test (with `--some`, for few seeds, the latter is no failure).
"""

import argparse
import os
import sys
import time

from tests.simulation.run import histories, stage
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.table import Table

_EVERY_S = 30.0


def main() -> int:
    """Run the histories that the command line asks for, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--log", action="store_true", help="print what the daemon logged")
    parser.add_argument("--some", action="store_true", help="not everything has to have happened")
    parser.add_argument("--crashes", action="store_true", help="play the scenarios instead, with all their crashes")
    asked = parser.parse_args()
    if asked.crashes:
        return _crashes()
    began_s = said_s = time.monotonic()
    table = Table()
    for told in histories(range(asked.start, asked.start + asked.seeds), asked.jobs):
        table.add(told)
        if asked.log:
            _say("".join(told.log))
        if told.violations:
            _say(f"seed {told.seed} failed; again: make simulate START={told.seed} SEEDS=1 MORE=--log")
            for violation in told.violations[:5]:
                _say(f"  {violation[:1500]}")
        if time.monotonic() - said_s > _EVERY_S:
            said_s = time.monotonic()
            _say(f"{table.seeds} of {asked.seeds}, {len(table.failed)} failed")
    for line in table.lines(time.monotonic() - began_s):
        _say(line)
    missing = [] if asked.some or asked.seeds < asked.jobs else table.missing()
    for name in missing:
        _say(f"never: {name}")
    _say(f"failed: {', '.join(str(told.seed) for told in table.failed) or 'none'}")
    return 1 if table.failed or missing else 0


def _crashes() -> int:
    """Play every scenario, and print how often it was crashed."""
    failed = False
    with stage() as made:
        for name, scenario in SCENARIOS.items():
            played = made.play(scenario)
            _say(f"{played.points:>5} points, {len(played.crashed):>4} crashes: {name}")
            found = played.violations(scenario.same)
            failed |= bool(found) or not played.crashed
            for text in found[:5]:
                _say(f"  {text[:1500]}")
    return 1 if failed else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
