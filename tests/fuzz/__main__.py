"""Search by coverage: `python -m tests.fuzz TARGET [--seconds N]`. Needs atheris, which no lock file of ours has."""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import TARGETS, seeds


def main() -> int:
    """Search until the time is over or something is found; what is found is printed, and written to the folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    asked = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write("atheris is not installed: `pip install atheris` into this environment\n")
        return 1
    import atheris

    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds(asked.target)):
            (Path(folder) / str(number)).write_bytes(seed)
        atheris.instrument_all()
        atheris.Setup(
            [sys.argv[0], f"-max_total_time={asked.seconds}", "-max_len=20000", folder], TARGETS[asked.target]
        )
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
