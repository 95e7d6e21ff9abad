import errno
import os

import pytest

from fleetsync.errors import MachineError, of_the_machine


def trouble(number: int, file: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), file)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (trouble(errno.EMFILE, "/x"), "too many open files: /x: allow it more open files"),
        (trouble(errno.ENOSPC), "no space left on device: make room"),
        (MemoryError(), "out of memory: give it more memory"),
        (ExceptionGroup("both", [MemoryError(), ExceptionGroup("one", [trouble(errno.EMFILE)])]), "out of memory"),
    ],
)
def test_what_the_machine_has_no_more_of_is_no_mistake_of_ours(error: Exception, told: str) -> None:
    found = of_the_machine(error)
    assert isinstance(found, MachineError)
    assert str(found).startswith(told)


@pytest.mark.parametrize(
    "error", [trouble(errno.ENOENT, "/x"), ValueError("x"), ExceptionGroup("both", [MemoryError(), ValueError("x")])]
)
def test_everything_else_is(error: Exception) -> None:
    assert of_the_machine(error) is None
