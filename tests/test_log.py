import io
import json
import subprocess
import sys

import pytest

from fleetsync import log
from fleetsync.log import get_log


def lines_of(level: str) -> list[dict[str, object]]:
    """Return what is written of one line of each urgency."""
    stream = io.StringIO()
    log.configure(level, "auto", stream)
    bound = get_log(source="plant")
    for name in ("debug", "info", "warning", "error"):
        getattr(bound, name)("cycle.done", listed=3)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_what_is_bound_what_is_said_and_the_priority_that_journald_reads() -> None:
    (line,) = lines_of("error")

    assert line.pop("timestamp")
    assert line == {"priority": 3, "source": "plant", "listed": 3, "event": "cycle.done", "level": "error"}


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("WARNING", 2), ("error", 1)])
def test_what_is_less_urgent_is_not_written(level: str, count: int) -> None:
    assert len(lines_of(level)) == count


def test_a_key_that_nobody_knows_is_refused() -> None:
    log.configure("debug", "json", io.StringIO())

    with pytest.raises(ValueError, match="colour"):
        get_log(colour="red").error("cycle.done")


def test_who_writes_nothing_does_not_load_what_writes() -> None:
    code = (
        "import sys; from fleetsync import log\n"
        "log.configure('warning', 'auto'); log.get_log(source='a').info('cycle.done')\n"
        "print('structlog' in sys.modules); log.get_log(source='a').error('cycle.done'); print('structlog' in sys.modules)"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20).stdout

    assert said.split() == ["False", "True"]
