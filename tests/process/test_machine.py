"""What the machine has no more of, and who else has the database."""

import contextlib
import os
import resource
import signal
from pathlib import Path

from tests.process.conftest import Documented
from tests.process.program import Program

PLENTY = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory_bytes(pid: int) -> int:
    """Return how much address space a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def test_a_command_that_may_open_too_few_files_says_so(mirrored: Program, documented: Documented) -> None:
    for most in (9, 12):
        mirrored.around = ("sh", "-c", f'ulimit -n {most}; exec "$@"', "sh")
        ended = mirrored.run("sync")
        documented("open files run out", ended.line, ended.code)
        assert "mistake" not in ended.line


def test_a_daemon_without_descriptors_goes_on_and_heals(mirrored: Program, documented: Documented) -> None:
    with mirrored.daemon() as daemon:
        daemon.ready()
        daemon.running.logged("cycle.finished", outcome="done")
        pid = daemon.running.pid
        most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, most[1]))
        daemon.until("STATUS=1 source; central")
        down = daemon.running.logged("source.down")
        documented("open files run out", down["error"])

        resource.prlimit(pid, resource.RLIMIT_NOFILE, most)
        daemon.until("STATUS=1 source")
        daemon.running.logged("source.up")
        assert descriptors(pid) < 40
        assert daemon.stopped().code == 0


def test_a_daemon_without_memory_goes_on_or_ends_to_be_started_again(mirrored: Program, documented: Documented) -> None:
    with mirrored.daemon() as daemon:
        daemon.ready()
        daemon.running.logged("cycle.finished", outcome="done")
        pid = daemon.running.pid
        resource.prlimit(pid, resource.RLIMIT_AS, (memory_bytes(pid), PLENTY[1]))
        daemon.until("out of memory", "central down")
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_AS, PLENTY)
        if "central down" in daemon.status:
            documented("memory runs out", daemon.running.logged("source.down")["error"])
            # It may run out once more where that does not pass.
            while daemon.status != "1 source" and "out of memory" not in daemon.status:
                daemon.until("STATUS=")
            ended = daemon.stopped() if daemon.status == "1 source" else daemon.running.ended()
        else:
            ended = daemon.running.ended()
        assert (ended.code == 0) is (daemon.status == "1 source")
        if ended.code:
            documented("memory runs out", ended.err.splitlines()[-1], ended.code)
        assert "Traceback" not in ended.err
        assert "program.failed" not in ended.err
    assert mirrored.run("sync").code == 0


def test_a_second_process_says_who_has_the_database_until_that_one_is_gone(
    mirrored: Program, documented: Documented
) -> None:
    with contextlib.closing(mirrored.start("run")) as first:
        first.logged("daemon.started")
        with mirrored.daemon() as daemon:
            daemon.until("STATUS=")
            second = daemon.running.ended()
        documented("another process has the database", second.line, second.code)
        documented("another process has the database", daemon.status)
        assert f"process {first.pid}" in second.line
        first.tell(signal.SIGKILL)
        first.ended()
    assert mirrored.run("sync").code == 0
