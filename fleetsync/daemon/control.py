"""The daemon's ear: a Unix socket beside the database, over which commands come in and progress and replies go out.

One connection is one command, in lines of JSON:

    client: {"name": "sync", "sources": ["plant"]}
    daemon: {"progress": {"source": "plant", "step": "listing device", "done": 100, "total": null}}
    daemon: {"reply": {"sources": [...], "error": null, "exit_code": 0}}

Who may speak is what the file's permissions say: its owner and its group. Whoever holds the lock of the database is
the daemon, so a socket file that is found was left behind and is replaced.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from fleetsync.clock import Clock
from fleetsync.daemon.sockets import connected, listening
from fleetsync.daemon.work import Command, Reply
from fleetsync.errors import FleetsyncError, NotYetError, UsageError
from fleetsync.reconcile.progress import Progress, Report
from fleetsync.tasks import together
from fleetsync.transport.threads import start_in_daemon_thread

CarryOut = Callable[[Command, Report], Awaitable[Reply]]

MOST_BYTES = 64 * 1024 * 1024
"""A line may hold a reviewed plan, and no more."""

_REQUEST_S = 10.0
_FAREWELL_S = 1.0
_OUT_OF_BREATH_S = 1.0
# A client that does not read is told no more than this about progress; it gets the reply all the same.
_MOST_UNREAD = 256 * 1024


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    progress: Progress | None = None
    reply: Reply | None = None


def socket_file(database: Path) -> Path:
    """Return where the daemon of a database listens."""
    return database.with_name(database.name + ".sock")


@contextlib.asynccontextmanager
async def serve(path: Path, carry_out: CarryOut, clock: Clock) -> AsyncIterator[None]:
    """Take commands at `path` for the block; `carry_out` does them and may raise nothing.

    A client that goes away cancels nothing. At the end nobody new is let in, and who is still there gets a second
    for the last words.

    Raises:
        FleetsyncError: the socket cannot be made.
    """
    with listening(path) as listener:
        async with together() as group:
            door = _Door(listener, carry_out, clock, group)
            door.open()
            try:
                yield
            finally:
                await door.close()


class _Door:
    """Lets clients in: each gets a task of the group, and none is ever between two owners."""

    def __init__(self, listener: socket.socket, carry_out: CarryOut, clock: Clock, group: asyncio.TaskGroup) -> None:
        self._listener = listener
        self._carry_out = carry_out
        self._clock = clock
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        asyncio.get_running_loop().add_reader(self._listener, self._welcome)

    async def close(self) -> None:
        """Let nobody in any more, and wait a second for those who are still there."""
        asyncio.get_running_loop().remove_reader(self._listener)
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(_FAREWELL_S):
                if self._tasks:
                    await asyncio.wait(self._tasks)
        for task in tuple(self._tasks):
            task.cancel()

    def _welcome(self) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # gone before it was let in
        except OSError:
            # No descriptors or no memory left: it keeps waiting outside, and nobody asks for it in a busy loop.
            asyncio.get_running_loop().remove_reader(self._listener)
            self._own(self._open_later(), at_end=_nothing)
            return
        # The socket is closed also when the task is cancelled before its first step.
        self._own(_answer(client, self._carry_out, self._clock), at_end=client.close)

    async def _open_later(self) -> None:
        await self._clock.sleep(_OUT_OF_BREATH_S)
        self.open()

    def _own(self, work: Coroutine[Any, Any, None], *, at_end: Callable[[], None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: at_end())


def _nothing() -> None:
    pass


async def _answer(client: socket.socket, carry_out: CarryOut, clock: Clock) -> None:
    reader, writer = await asyncio.open_connection(sock=client, limit=MOST_BYTES)

    def report(progress: Progress) -> None:
        if not writer.is_closing() and writer.transport.get_write_buffer_size() < _MOST_UNREAD:
            writer.write(_encoded(_Line(progress=progress)))

    try:
        command = await _request(reader, clock)
        reply = command if isinstance(command, Reply) else await carry_out(command, report)
        if not writer.is_closing():
            writer.write(_encoded(_Line(reply=reply)))
        writer.close()
        await writer.wait_closed()
    except OSError:
        return  # the client went away; what it asked for was done
    finally:
        if client.fileno() != -1:  # cancelled with something unsaid
            writer.transport.abort()


async def _request(reader: asyncio.StreamReader, clock: Clock) -> Command | Reply:
    """Return the command that a client sends, or what to reply to something that is none."""
    try:
        async with clock.timeout(_REQUEST_S):
            line = await reader.readuntil()
        return msgspec.json.decode(line, type=Command)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        reason = "no whole line came in time, or it was too long"
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = str(error)
    return Reply(error=f"not a command: {reason}", exit_code=UsageError.exit_code)


async def hand_over(path: Path, command: Command, report: Report) -> Reply | None:
    """Give a command to the daemon at `path` and return its reply; None when nobody listens there.

    A reviewed plan goes along as text: the daemon may not see the files of whoever asks.

    Raises:
        UsageError: the reviewed plan cannot be read.
        NotYetError: the daemon ended in the middle of it.
        FleetsyncError: the daemon may not be spoken to, or speaks something else.
    """
    connection = await connected(path)
    if connection is None:
        return None
    with connection:
        line = _encoded(await _with_plan(command))
        reader, writer = await asyncio.open_connection(sock=connection, limit=MOST_BYTES)
        try:
            writer.write(line)
            await writer.drain()
            return await _replied(reader, report)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise NotYetError("the daemon ended in the middle of the command; what was done is stored") from error
        except (msgspec.MsgspecError, asyncio.LimitOverrunError) as error:
            raise FleetsyncError(f"the daemon at {path} speaks something else; is it of this version?") from error
        finally:
            writer.close()


async def _replied(reader: asyncio.StreamReader, report: Report) -> Reply:
    while True:
        line = msgspec.json.decode(await reader.readuntil(), type=_Line)
        if line.progress is not None:
            report(line.progress)
        if line.reply is not None:
            return line.reply


async def _with_plan(command: Command) -> Command:
    if command.plan is None or command.plan_text is not None:
        return command
    file = Path(command.plan)
    try:
        text = await start_in_daemon_thread(lambda: file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"plan {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"plan {file}: not a plan that `fleetsync plan --out` wrote") from error
    if len(text) > MOST_BYTES // 2:
        how = "plan fewer sources at once, or apply it while the daemon is stopped"
        raise UsageError(f"plan {file}: too large to hand to the daemon, more than {MOST_BYTES >> 21} MiB: {how}")
    return replace(command, plan_text=text)


def _encoded(line: Command | _Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"
