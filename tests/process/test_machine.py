"""What the machine has no more of, and who else has the database."""

import contextlib
import os
import resource
import signal
from pathlib import Path

from fleetsync.simulator import Cloud, parse_faults
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


def test_a_daemon_without_descriptors_goes_on_and_heals(
    mirrored: Program, documented: Documented, cloud: Cloud
) -> None:
    with mirrored.daemon() as daemon:
        daemon.ready()
        daemon.running.logged("cycle.finished", outcome="done")
        pid = daemon.running.pid
        most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, most[1]))
        cloud.faults = parse_faults("list.reset")  # what is open is enough for as long as it stays open
        daemon.until("STATUS=1 source; central")
        down = daemon.running.logged("source.down")
        cloud.faults = ()
        documented("open files run out", down["error"])

        resource.prlimit(pid, resource.RLIMIT_NOFILE, most)
        assert mirrored.run("sync").code == 0
        daemon.running.logged("source.up")
        assert descriptors(pid) < 40
        assert daemon.stopped().code == 0


def test_a_daemon_that_had_nothing_to_say_yet_can_still_say_that_no_file_can_be_opened(
    mirrored: Program, cloud: Cloud
) -> None:
    with mirrored.config.open("a") as config:
        config.write('\n[log]\nlevel = "error"\n')
    with mirrored.daemon() as daemon:
        daemon.ready()
        most = resource.prlimit(daemon.running.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.running.pid, resource.RLIMIT_NOFILE, (3, most[1]))
        cloud.faults = parse_faults("reset-before@1")
        try:
            down = daemon.running.logged("source.down")
        finally:
            cloud.faults = ()
        assert "no file descriptor left" in down["error"]
        resource.prlimit(daemon.running.pid, resource.RLIMIT_NOFILE, most)
        assert daemon.stopped().code == 0


def test_a_daemon_without_memory_for_an_answer_goes_on_and_heals(
    mirrored: Program, documented: Documented, cloud: Cloud
) -> None:
    with mirrored.daemon() as daemon:
        daemon.ready()
        daemon.running.logged("cycle.finished", outcome="done")
        pid = daemon.running.pid
        # Enough for threads and all else, and not for this.
        resource.prlimit(pid, resource.RLIMIT_AS, (memory_bytes(pid) + 24 * 2**20, PLENTY[1]))
        cloud.faults = parse_faults("big-body=30MB")
        try:
            documented("memory runs out", daemon.running.logged("source.down")["error"])
        finally:
            cloud.faults = ()
        resource.prlimit(pid, resource.RLIMIT_AS, PLENTY)
        assert mirrored.run("sync").code == 0
        daemon.healed()
        assert daemon.stopped().code == 0


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
