"""Unix sockets at paths of any length. An address holds 107 bytes; through descriptors in /proc every path fits."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from fleetsync.errors import FleetsyncError

_MODE = 0o660


async def connected(path: Path) -> socket.socket | None:
    """Return a connection to the socket at `path`, None where nobody listens.

    Raises:
        FleetsyncError: the permissions forbid it, or it cannot be reached for another reason.
    """
    connection = _socket()
    try:
        with _descriptor(path) as file:
            await asyncio.get_running_loop().sock_connect(connection, f"/proc/self/fd/{file}")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise FleetsyncError(f"the daemon at {path}: {error.strerror}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def is_listening(path: Path) -> bool:
    """Say whether somebody listens at `path` to whom we may speak."""
    with _socket() as connection:
        try:
            with _descriptor(path) as file:
                connection.connect(f"/proc/self/fd/{file}")
        except OSError:
            return False
    return True


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Give a socket that listens at `path`; whatever is there is replaced, and removed at the end.

    Raises:
        FleetsyncError: there can be none.
    """
    listener = _socket()
    try:
        try:
            _put_in_place(listener, path)
        except OSError as error:
            raise FleetsyncError(f"control socket {path}: {error.strerror}") from error
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)
    finally:
        listener.close()


def _put_in_place(listener: socket.socket, path: Path) -> None:
    """Bind under a short name, set the rights, and take the real name at once: nobody ever meets half of it."""
    name = f".{os.getpid()}.sock"
    with _descriptor(path.parent) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        listener.bind(f"/proc/self/fd/{folder}/{name}")
        os.chmod(name, _MODE, dir_fd=folder)
        listener.listen()
        os.rename(name, path.name, src_dir_fd=folder, dst_dir_fd=folder)


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


@contextlib.contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
