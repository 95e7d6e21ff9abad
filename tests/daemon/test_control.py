import asyncio
import errno
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleetsync.clock import SystemClock
from fleetsync.daemon.control import MOST_BYTES, _Door, hand_over, serve, socket_file
from fleetsync.daemon.sockets import is_listening, listening
from fleetsync.daemon.work import Command, Reply, SourceReply
from fleetsync.errors import FleetsyncError, NotYetError, UsageError
from fleetsync.reconcile.progress import Progress, Report, silent
from fleetsync.transport.lane import Usage
from fleetsync.transport.limiter import ScopeUsage
from tests.fakes.clock import FakeClock, settle, until

SYNC = Command(name="sync", sources=("plant",))
STEP = Progress(source="plant", step="listing device", done=100, total=None)
USAGE = Usage(
    operation="list", permitted_per_s=12.0, learned_per_s=8.4, held_s=3.5, why="x", used_60s=7, waiting=1, requests=9,
    throttled=2,
)  # fmt: skip
REPLY = Reply(
    rates=(ScopeUsage(scope="application a", classes=(USAGE,), spent=3, daily=None),),
    sources=(
        SourceReply(source="plant", cycle=7, complete=True, counts={"listed": 6, "waited_s": 0.5}, held=("a", "b")),
    ),
    exit_code=1,
)


@dataclass
class Worker:
    """Reports a step, waits until it may go on, and replies."""

    reply: Reply = REPLY
    steps: int = 1
    begun: list[Command] = field(default_factory=list)
    ended: list[Command] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry_out(self, command: Command, report: Report) -> Reply:
        self.begun.append(command)
        for _ in range(self.steps):
            report(STEP)
        await self.go_on.wait()
        report(STEP)
        self.ended.append(command)
        return self.reply


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return socket_file(tmp_path / "fleetsync.db")


@pytest.fixture
def worker() -> Worker:
    worker = Worker()
    worker.go_on.set()
    return worker


@asynccontextmanager
async def raw(path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Give a connection of a client that may say what it likes."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=MOST_BYTES)
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_a_command_goes_over_and_progress_and_reply_come_back(path: Path, worker: Worker) -> None:
    steps: list[Progress] = []
    command = Command(name="confirm", sources=("plant",), writes=3)

    async with serve(path, worker.carry_out, SystemClock()):
        reply = await hand_over(path, command, steps.append)

    assert reply == REPLY
    assert worker.begun == [command]
    assert steps == [STEP, STEP]


def modes(folder: Path) -> dict[str, int]:
    """Return the files of a folder and their permissions."""
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def test_the_socket_lies_beside_the_database_for_owner_and_group(path: Path, worker: Worker) -> None:
    async with serve(path, worker.carry_out, SystemClock()):
        assert modes(path.parent) == {"fleetsync.db.sock": 0o660}
    assert modes(path.parent) == {}


async def test_without_a_daemon_the_command_is_told_so(path: Path) -> None:
    assert await hand_over(path, SYNC, silent) is None
    assert await hand_over(path.parent / "nowhere" / "x.sock", SYNC, silent) is None


def left_behind(path: Path) -> None:
    """Leave a socket as a killed process does."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


async def test_a_socket_of_a_dead_process_counts_as_no_daemon_and_is_replaced(path: Path, worker: Worker) -> None:
    left_behind(path)
    assert await hand_over(path, SYNC, silent) is None

    async with serve(path, worker.carry_out, SystemClock()):
        assert await hand_over(path, SYNC, silent) == REPLY


async def test_what_a_killed_start_left_under_the_short_name_is_no_obstacle(path: Path, worker: Worker) -> None:
    left_behind(path.with_name(f".{os.getpid()}.sock"))

    async with serve(path, worker.carry_out, SystemClock()):
        assert await hand_over(path, SYNC, silent) == REPLY


async def test_paths_and_names_that_no_address_holds_work(tmp_path: Path, worker: Worker) -> None:
    folder = tmp_path.joinpath(*["a folder with quite a long name"] * 8)
    folder.mkdir(parents=True)
    path = socket_file(folder / ("x" * 240))

    async with serve(path, worker.carry_out, SystemClock()):
        assert await hand_over(path, SYNC, silent) == REPLY


async def test_several_clients_are_served_at_once(path: Path) -> None:
    worker = Worker()
    async with serve(path, worker.carry_out, SystemClock()), asyncio.TaskGroup() as group:
        clients = [group.create_task(hand_over(path, SYNC, silent)) for _ in range(5)]
        await until(lambda: len(worker.begun) == 5)
        worker.go_on.set()
    assert [client.result() for client in clients] == [REPLY] * 5


async def test_a_client_that_goes_away_cancels_nothing_and_breaks_nothing(path: Path) -> None:
    worker = Worker()
    async with serve(path, worker.carry_out, SystemClock()):
        async with raw(path) as (reader, writer):
            writer.write(b'{"name": "sync"}\n')
            await reader.readline()
        worker.go_on.set()
        await until(lambda: len(worker.ended) == 1)

        assert await hand_over(path, SYNC, silent) == REPLY


async def test_a_client_that_does_not_read_holds_up_nobody_and_costs_little(path: Path) -> None:
    worker = Worker(steps=100_000)
    worker.go_on.set()
    async with serve(path, worker.carry_out, SystemClock()), raw(path) as (reader, writer):
        writer.write(b'{"name": "sync"}\n')
        await until(lambda: len(worker.ended) == 1)

        lines = [line async for line in reader]

    assert len(lines) < 10_000
    assert json.loads(lines[-1])["reply"]["exit_code"] == 1


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"[]\n",
        b'{"name": "rm -rf"}\n',
        b'{"name": "sync", "sources": "plant"}\n',
        b'{"name": "sy',
        b'"\xff"\n',
    ],
)
async def test_what_is_no_command_is_refused_in_words(path: Path, worker: Worker, line: bytes) -> None:
    async with serve(path, worker.carry_out, SystemClock()), raw(path) as (reader, writer):
        writer.write(line)
        writer.write_eof()
        reply = json.loads(await reader.readline())["reply"]

    assert reply["exit_code"] == 2
    assert reply["error"].startswith("not a command: ")
    assert worker.begun == []


async def endless(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b" " * 1_000_000)
        await writer.drain()


async def test_a_request_without_end_is_refused(path: Path, worker: Worker) -> None:
    async with serve(path, worker.carry_out, SystemClock()), raw(path) as (_, writer):
        with pytest.raises(ConnectionError):
            await endless(writer)
    assert worker.begun == []


async def test_a_client_that_says_nothing_is_sent_away(path: Path, worker: Worker) -> None:
    clock = FakeClock()
    async with serve(path, worker.carry_out, clock), raw(path) as (reader, _):
        await until(lambda: clock.sleepers == 1)
        await clock.advance(11)
        assert json.loads(await reader.readline())["reply"]["exit_code"] == 2


async def test_members_that_a_newer_client_knows_are_no_obstacle(path: Path, worker: Worker) -> None:
    async with serve(path, worker.carry_out, SystemClock()), raw(path) as (reader, writer):
        writer.write(b'{"name": "sync", "colour": "blue"}\n')
        lines = [line async for line in reader]
    assert "reply" in json.loads(lines[-1])


# The daemon stops


async def test_a_daemon_that_stops_delivers_the_replies_that_are_ready(path: Path) -> None:
    worker = Worker()
    async with asyncio.TaskGroup() as group, serve(path, worker.carry_out, SystemClock()):
        client = group.create_task(hand_over(path, SYNC, silent))
        await until(lambda: len(worker.begun) == 1)
        worker.go_on.set()
    assert client.result() == REPLY


async def test_a_daemon_that_stops_in_the_middle_says_try_later(path: Path) -> None:
    worker, clock = Worker(), FakeClock()

    async def client() -> None:
        with pytest.raises(NotYetError, match="ended in the middle"):
            await hand_over(path, SYNC, silent)

    async def daemon() -> None:
        async with serve(path, worker.carry_out, clock):
            await until(lambda: len(worker.begun) == 1)

    async with asyncio.TaskGroup() as group:
        running = group.create_task(daemon())
        await until(lambda: bool(modes(path.parent)))
        group.create_task(client())
        await until(lambda: len(worker.begun) == 1 and clock.sleepers == 1)
        await settle()
        await clock.advance(2)
        await running
    assert worker.ended == []
    assert modes(path.parent) == {}


# The reviewed plan


async def test_a_reviewed_plan_goes_along_as_text(path: Path, tmp_path: Path, worker: Worker) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"format": 1, "Ørsta": "\\n"}', encoding="utf-8")
    command = Command(name="apply", plan=str(file))

    async with serve(path, worker.carry_out, SystemClock()):
        assert await hand_over(path, command, silent) == REPLY

    assert worker.begun[0].plan == str(file)
    assert worker.begun[0].plan_text == file.read_text(encoding="utf-8")


async def test_a_plan_that_cannot_be_read_is_refused_before_anything_is_sent(
    path: Path, tmp_path: Path, worker: Worker
) -> None:
    (tmp_path / "plan.json").write_bytes(b"\xff")
    async with serve(path, worker.carry_out, SystemClock()):
        for name, words in (("none.json", "No such file"), ("plan.json", "not a plan")):
            with pytest.raises(UsageError, match=words):
                await hand_over(path, Command(name="apply", plan=str(tmp_path / name)), silent)
    assert worker.begun == []


# What is there is no daemon of ours


async def test_something_else_that_listens_is_named(path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 mail.example.com ESMTP\r\n")
        writer.close()

    server = await asyncio.start_unix_server(answer, str(path))
    async with server:
        with pytest.raises(FleetsyncError, match="speaks something else"):
            await hand_over(path, SYNC, silent)


async def test_a_daemon_that_cannot_be_reached_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(FleetsyncError, match="Not a directory"):
        await hand_over(tmp_path / "file" / "x.sock", SYNC, silent)


async def test_a_place_where_no_socket_can_be_is_named(tmp_path: Path, worker: Worker) -> None:
    with pytest.raises(FleetsyncError, match="No such file or directory"):
        async with serve(tmp_path / "nowhere" / "x.sock", worker.carry_out, SystemClock()):
            pass


class Exhausted(socket.socket):
    """A listening socket of a process that has no descriptors left, for a while."""

    refusals = 1

    def accept(self) -> tuple[socket.socket, object]:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


async def test_who_comes_while_no_descriptors_are_left_is_served_later(path: Path, worker: Worker) -> None:
    clock = FakeClock()
    with Exhausted(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(path))
        listener.listen()
        async with asyncio.TaskGroup() as group:
            door = _Door(listener, worker.carry_out, clock, group)
            door.open()
            client = group.create_task(hand_over(path, SYNC, silent))
            await until(lambda: clock.sleepers == 1)
            assert worker.begun == []
            await clock.advance(1)
            await client
            await door.close()
    assert client.result() == REPLY


def test_who_listens_is_found_at_a_path_of_any_length(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 40) / "socket"
    path.parent.mkdir()
    assert not is_listening(path)
    with listening(path):
        assert is_listening(path)
    assert not is_listening(path)
