"""The environment of Microsoft's client for IoT Hub, and where there can be none.

Run as a program, as `make` does, it says why there can be none here and fails, or it says nothing.
"""

import platform
import sys
from pathlib import Path

PYTHON = Path(sys.prefix) / "microsoft" / "bin" / "python"
"""What `make` makes inside the environment of the tests."""

_OLDEST, _NEWEST = (3, 11), (3, 13)


def obstacle(version: tuple[int, int], machine: str, libc: str) -> str | None:
    """Return why the client cannot be installed on such a machine; None when it can.

    Its uamqp is C. The last one, 1.6.11 of 2024, is there as a wheel for some, and is compiled for minutes elsewhere.
    """
    if not _OLDEST <= version <= _NEWEST:
        here = f"Python {version[0]}.{version[1]}"
    elif (machine, libc) != ("x86_64", "glibc"):
        here = f"{machine} with {libc or 'another C library'}"
    else:
        return None
    return f"azure-iot-hub needs uamqp, which comes for Python 3.11 to 3.13 on x86_64 with glibc; this is {here}"


OBSTACLE = obstacle(sys.version_info[:2], platform.machine(), platform.libc_ver()[0])
"""Why it cannot be installed here."""

if __name__ == "__main__":
    sys.exit(OBSTACLE)
