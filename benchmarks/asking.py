"""The process that asks the questions of the README while a pass runs, and prints how many seconds each took."""

import contextlib
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

from fleetsync.clock import SystemClock
from fleetsync.errors import TooLongError
from fleetsync.mirror.reader import reading
from tests.test_access import SCANNING
from tests.test_questions import QUESTIONS

_BETWEEN = 300
"""So many questions that an index serves are asked between two that scan."""


def main(database: Path, command: list[str]) -> None:
    """Ask for as long as a command takes."""
    took_s: dict[str, list[float]] = {question: [] for question in QUESTIONS}
    scanning = itertools.cycle(SCANNING)
    served = itertools.cycle(question for question in QUESTIONS if question not in SCANNING)
    with reading(database, SystemClock()) as reader, subprocess.Popen(command, stdout=subprocess.DEVNULL) as going:
        for number in itertools.count():
            if going.poll() is not None:
                break
            question = next(served if number % _BETWEEN else scanning)
            began_s = time.perf_counter()
            # One that comes to its limit took at least that.
            with contextlib.suppress(TooLongError):
                for _ in reader.question(QUESTIONS[question])[1]:
                    pass
            took_s[question].append(time.perf_counter() - began_s)
    if going.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {going.returncode}")
    why = {question: reason for question, (_, reason) in SCANNING.items()}
    print(json.dumps({"took_s": took_s, "why": why}))


main(Path(sys.argv[1]), sys.argv[2:])
