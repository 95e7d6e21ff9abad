"""Every error we raise. The class is the decision: callers ask `isinstance`, never the text.

    FleetsyncError                  exit 1 unless said otherwise
    ├── UsageError                  exit 2: the command was asked something that it cannot do
    ├── ConfigError                 exit 78: a person must edit a file; carries every problem at once
    ├── UnsafePlanError             exit 1: too much would change or vanish; `confirm` lets it pass once
    ├── TooLongError                exit 1: a question took longer than it may
    ├── NotYetError                 exit 75: try later (never listed completely, source paused)
    ├── MachineError                exit 1: the machine has no more of something that every program needs
    ├── MirrorError                 exit 1: the database cannot be used
    │   ├── BrokenMirrorError       exit 1: it failed: nothing goes on with it but a new process
    │   │   └── ReplacedMirrorError exit 78: another file has its name
    │   ├── SchemaMismatchError     exit 78: `db upgrade`, or a newer fleetsync
    │   └── LockedError             exit 75: another process has the file
    └── SourceError
        ├── TransientError          exit 75: the same request may work later
        │   ├── ThrottledError      429, or a documented equivalent; `retry_after_s`
        │   │   └── QuotaSpentError the quota of a day, until the next UTC day
        │   ├── UnreachableError    no answer, or none in time; `sent`: may have been carried out
        │   ├── ServerFaultError    500, 502, 503, 504, 408
        │   └── CircuitOpenError    the source does not answer, so it is left alone until its next probe; `fault`
        └── TerminalError           the same request will fail again
            ├── AuthError           401, 403, and what the token service refuses
            ├── InvalidResponseError  2xx that is not what was promised; links and redirects elsewhere
            └── ResourceError       the other resources go on
                ├── NotFoundError   404 in the service's own words, 410
                ├── ConflictError   412, 409: read again, decide again
                ├── DeviceFaultError  the service is well, the device behind it did not do it; `sent`: or perhaps did
                └── RejectedError   400, 422 and every other 4xx

`transport/client.py` alone maps status codes to these.
"""

import errno

from msgspec import Struct


class FleetsyncError(Exception):
    """Something a person should read: one line, what and which."""

    exit_code = 1


class UsageError(FleetsyncError):
    """The command was asked something that it cannot do."""

    exit_code = 2


class Problem(Struct, frozen=True, kw_only=True):
    """One thing that a person must mend, and where it stands."""

    message: str
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else self.file
        return f"{place}: {self.message}" if place else self.message


class ConfigError(FleetsyncError):
    """Configuration or declarations are wrong; `problems` holds all of them."""

    exit_code = 78

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class UnsafePlanError(FleetsyncError):
    """A plan or a listing goes beyond a safety limit; nothing of it was done."""


class TooLongError(FleetsyncError):
    """A question to the database took longer than it may."""


class NotYetError(FleetsyncError):
    """Not possible yet, and it will be without anybody editing a file."""

    exit_code = 75


class MachineError(FleetsyncError):
    """Not the program is at fault but what it runs on: no descriptors, memory or room on a disk are left."""


_ADVICE = {
    errno.EMFILE: "allow it more open files (`ulimit -n`, LimitNOFILE= of the unit)",
    errno.ENFILE: "close other programs, or raise fs.file-max",
    errno.ENOMEM: "give it more memory (MemoryMax= of the unit)",
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room on that disk",
    errno.EROFS: "mount that disk for writing",
    errno.EIO: "that disk fails (see the kernel's log)",
}


def of_the_machine(error: BaseException) -> MachineError | None:
    """Return the error to show in place of one of Python's that is the machine's fault; None for every other."""
    match error:
        case MemoryError():
            return MachineError(f"out of memory: {_ADVICE[errno.ENOMEM]}")
        case OSError() if error.errno in _ADVICE:
            file = f": {error.filename}" if error.filename is not None else ""
            return MachineError(f"{str(error.strerror).lower()}{file}: {_ADVICE[error.errno]}")
        case BaseExceptionGroup():
            found = [of_the_machine(one) for one in error.exceptions]
            return found[0] if all(found) else None
        case _:
            return None


class MirrorError(FleetsyncError):
    """The database cannot be used."""


class BrokenMirrorError(MirrorError):
    """The database itself failed: nothing may go on with this connection, only a new process with a new one."""


class ReplacedMirrorError(BrokenMirrorError):
    """Another file has its name, or none: what is written is lost, and its journal would spoil the other file."""

    exit_code = 78


class SchemaMismatchError(MirrorError):
    """The database was made by another version."""

    exit_code = 78


class LockedError(MirrorError):
    """Another process holds the database."""

    exit_code = 75


class SourceError(FleetsyncError):
    """A service did not do what was asked.

    `status` is the HTTP status, `code` the service's own name for the error, `request_id` what its
    support asks for; each is None where the service said nothing. `is_there`: what was asked for is there all the same.
    """

    is_there: bool = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id


class TransientError(SourceError):
    """The same request may work later.

    `sent` says that the service may have carried the request out: only what is safe to repeat is repeated then.
    `retry_after_s` is what the service asked for, seconds from now; None where it said nothing.
    """

    exit_code = 75

    def __init__(
        self,
        message: str,
        *,
        sent: bool = True,
        retry_after_s: float | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, request_id=request_id)
        self.sent = sent
        self.retry_after_s = retry_after_s


class ThrottledError(TransientError):
    """The service refused the request because of its rate; it was not carried out."""


class QuotaSpentError(ThrottledError):
    """The service's quota of the day is spent; `retry_after_s` ends with its UTC day."""


class UnreachableError(TransientError):
    """No answer, or none in time."""


class ServerFaultError(TransientError):
    """The service failed; what it did with the request is not known."""


class CircuitOpenError(TransientError):
    """The source is known not to answer: until its next probe nothing is sent to it.

    `fault` is the class of what is wrong, as in the view `sources`. What opened the circuit is the cause; where that
    was the very request, `sent` and the rest are of its failure.
    """

    def __init__(
        self,
        message: str,
        *,
        fault: str,
        cause: TransientError | None = None,
    ) -> None:
        super().__init__(
            message,
            sent=cause is not None and cause.sent,
            status=None if cause is None else cause.status,
            code=None if cause is None else cause.code,
            request_id=None if cause is None else cause.request_id,
        )
        self.fault = fault


class TerminalError(SourceError):
    """The same request will fail again."""


class AuthError(TerminalError):
    """Sign-in was refused, or the identity may not do this."""


class InvalidResponseError(TerminalError):
    """An answer that is not what was promised.

    `sent` says that the service may have carried out what was to be done: it answered that, not a read before it.
    """

    sent: bool = True


class ResourceError(TerminalError):
    """One resource failed; the others go on."""


class NotFoundError(ResourceError):
    """The service says, in its own words, that there is no such resource."""


class ConflictError(ResourceError):
    """The guard refused the write: somebody else was faster."""


class DeviceFaultError(ResourceError):
    """The service is well, and the device behind it cannot be asked, or gave no usable answer in time.

    `sent` says that the device may have carried the request out.
    """

    def __init__(
        self,
        message: str,
        *,
        sent: bool = True,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, request_id=request_id)
        self.sent = sent


class RejectedError(ResourceError):
    """The service does not accept this request."""
