import asyncio
import subprocess
import sys
import threading

import pytest

from fleetsync.errors import MachineError
from fleetsync.transport.threads import DaemonThreads, start_in_daemon_thread


async def test_the_result_comes_back():
    assert await start_in_daemon_thread(lambda: 42) == 42


async def test_an_exception_comes_back():
    with pytest.raises(LookupError):
        await start_in_daemon_thread({}.popitem)


async def test_no_more_than_the_limit_run_at_a_time():
    threads, running, most, lock, go = DaemonThreads(2), 0, 0, threading.Lock(), threading.Event()

    def work():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go.wait(5)
        with lock:
            running -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(threads.run(work))
        group.create_task(start_in_daemon_thread_coroutine(go.set))
    assert most <= 2


async def start_in_daemon_thread_coroutine(function):
    await start_in_daemon_thread(function)


async def test_a_cancelled_wait_leaves_the_thread_alone_and_it_keeps_its_place():
    threads, go, started, ended = DaemonThreads(1), threading.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def work():
        loop.call_soon_threadsafe(started.set)
        go.wait(5)
        loop.call_soon_threadsafe(ended.set)

    first = asyncio.create_task(threads.run(work))
    await started.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(threads.run(ended.is_set))
    await asyncio.sleep(0)
    assert not ended.is_set()
    go.set()
    assert await second is True


def test_the_programs_end_does_not_wait_for_threads_that_hang():
    code = (
        "import asyncio, threading\n"
        "from fleetsync.transport.threads import DaemonThreads\n"
        "async def main():\n"
        "    threads = DaemonThreads(50)\n"
        "    hanging = [asyncio.ensure_future(threads.run(threading.Event().wait)) for _ in range(40)]\n"
        "    await asyncio.wait(hanging, timeout=0.1)\n"
        "asyncio.run(main())\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=10, check=False).returncode == 0


async def test_a_machine_that_gives_no_more_threads_is_said_to(monkeypatch: pytest.MonkeyPatch):
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(MachineError, match="no thread can be started: allow it more"):
        await start_in_daemon_thread(lambda: 42)
