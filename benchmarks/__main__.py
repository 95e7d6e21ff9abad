"""Run the benchmarks and print their tables: `make bench`, or `python -m benchmarks --help`."""

import argparse
import os
import platform
import sqlite3
import tempfile
from pathlib import Path

from benchmarks import listing


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=["central", "hub"], default="central")
    parser.add_argument("--order", choices=["random", "sorted"], default="random")
    parser.add_argument("--alone", action="store_true", help="without the scripts that people write")
    given = parser.parse_args()
    where = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores"
    print(f"{where}, {given.rounds} rounds in turn; medians, ratios with their range\n")
    with tempfile.TemporaryDirectory(prefix="fleetsync-bench-") as folder:
        made = listing.suite(
            Path(folder) / "listing",
            given.devices,
            shape=given.shape,
            order=given.order,
            with_others=not given.alone,
        )
        with made as suite:
            suite.run(given.rounds)
            print(suite.table())


main()
