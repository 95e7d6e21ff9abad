"""Run the benchmarks and print their tables: `make bench`, or `python -m benchmarks --help`."""

import argparse
import compileall
import contextlib
import os
import platform
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import fleetsync
from benchmarks import beside, growth, listing, plans, rates, readers, start
from benchmarks.contest import Suite


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=["central", "hub"], default="central")
    parser.add_argument("--order", choices=["random", "sorted"], default="random")
    parser.add_argument("--alone", action="store_true", help="without the scripts that people write")
    parser.add_argument("--only", action="append", choices=list(SUITES), help="may be given several times")
    given = parser.parse_args()
    # As an installation does: where nothing may be written beside the sources, every start would compile them anew.
    for folder in (Path(fleetsync.__file__).parent, Path(__file__).parent):
        compileall.compile_dir(folder, quiet=1)
    where = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores"
    print(f"{where}, {given.rounds} rounds in turn; medians, ratios with their range\n")
    with tempfile.TemporaryDirectory(prefix="fleetsync-bench-") as folder:
        for name in given.only or SUITES:
            with SUITES[name](Path(folder) / name, given) as suite:
                suite.run(given.rounds)
                print(suite.table())


def _listing(folder: Path, given: argparse.Namespace) -> contextlib.AbstractContextManager[Suite]:
    others = not given.alone
    return listing.suite(folder, given.devices, shape=given.shape, order=given.order, with_others=others)


def _plans(folder: Path, given: argparse.Namespace) -> contextlib.AbstractContextManager[Suite]:
    return plans.suite(folder, given.devices)


def _readers(folder: Path, given: argparse.Namespace) -> contextlib.AbstractContextManager[readers.Readers]:
    return readers.suite(folder, given.devices)


def _start(folder: Path, _given: argparse.Namespace) -> contextlib.AbstractContextManager[Suite]:
    return start.suite(folder)


def _growth(folder: Path, given: argparse.Namespace) -> contextlib.AbstractContextManager[growth.Growth]:
    return growth.suite(folder, given.devices)


def _beside(folder: Path, given: argparse.Namespace) -> contextlib.AbstractContextManager[beside.Beside]:
    return beside.suite(folder, given.devices)


def _rates(folder: Path, _given: argparse.Namespace) -> contextlib.AbstractContextManager[rates.Rates]:
    return rates.suite(folder)


Runs = contextlib.AbstractContextManager[Suite | readers.Readers | rates.Rates | beside.Beside | growth.Growth]

SUITES: dict[str, Callable[[Path, argparse.Namespace], Runs]] = {
    "listing": _listing,
    "plans": _plans,
    "readers": _readers,
    "rates": _rates,
    "beside": _beside,
    "start": _start,
    "growth": _growth,
}


main()
