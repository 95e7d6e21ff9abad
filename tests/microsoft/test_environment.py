import pytest

from tests.microsoft.environment import obstacle


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_the_client_is_installed_where_all_of_it_comes_as_wheels(version: tuple[int, int]) -> None:
    assert obstacle(version, "x86_64", "glibc") is None


@pytest.mark.parametrize(
    ("version", "machine", "libc", "named"),
    [
        ((3, 14), "x86_64", "glibc", "Python 3.14"),
        ((3, 13), "aarch64", "glibc", "aarch64 with glibc"),
        ((3, 13), "x86_64", "", "x86_64 with another C library"),
    ],
)
def test_elsewhere_the_client_and_the_reason_are_named(
    version: tuple[int, int], machine: str, libc: str, named: str
) -> None:
    reason = obstacle(version, machine, libc)

    assert reason is not None
    assert reason.startswith("azure-iot-hub needs uamqp")
    assert reason.endswith(named)
