"""How the sources are: said once when one breaks, once when it heals, and before a credential ends."""

import datetime
from collections.abc import Callable, Sequence

from msgspec import Struct

from fleetsync.core.breaker import FaultClass
from fleetsync.core.words import counted
from fleetsync.errors import FleetsyncError, MirrorError, NotYetError
from fleetsync.log import get_log
from fleetsync.mirror.wal import LARGE_WAL_BYTES
from fleetsync.reconcile.endings import source_fault_of, state_of

_WARNINGS_DAYS = (0, 1, 7, 30)


class _Wrong(Struct, frozen=True, kw_only=True):
    """What is wrong with a source; where it `waits`, nothing but that something else is not there yet."""

    reason: str
    fault: FaultClass | None
    waits: bool


class Health:
    """What is wrong with which source. `tell` gets one line about the whole, whenever that changes."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._wrong: dict[str, _Wrong] = {}
        self._unrecorded: dict[str, str] = {}
        self._said_days: dict[str, int | None] = {}
        self._refused: str | None = None
        self._wal_is_large = False
        self._text = ""
        self._sources: tuple[str, ...] = ()

    def watch(self, sources: tuple[str, ...]) -> None:
        """Mind these sources and forget all others."""
        self._sources = sources
        for gone in self._wrong.keys() - set(sources):
            del self._wrong[gone]
            self._unrecorded.pop(gone, None)
        self._say()

    def note(self, source: str, *errors: FleetsyncError) -> None:
        """Take note of how a cycle ended. Logged is the change only; errors of another sort are one."""
        before = self._wrong.pop(source, None)
        self._unrecorded.pop(source, None)
        if errors:
            wrong = self._wrong[source] = _wrong(errors)
            if unrecorded := [str(error) for error in errors if isinstance(error, MirrorError)]:
                self._unrecorded[source] = unrecorded[0]
            if before != wrong:
                said = {"fault": wrong.fault.value} if wrong.fault else {}
                text = "; ".join(map(str, errors))
                get_log(source=source).error("source.down", error=text, reason=wrong.reason, **said)
        elif before is not None:
            get_log(source=source).info("source.up")
        self._say()

    def is_wrong(self, source: str) -> bool:
        """Say whether something is wrong with a source."""
        return source in self._wrong

    def is_waiting(self, source: str) -> bool:
        """Say whether a source waits for something that is not there yet, such as the listing of another."""
        return source in self._wrong and self._wrong[source].waits

    def note_end(self, source: str, until: datetime.datetime | None, now: datetime.datetime) -> None:
        """Warn 30, 7 and 1 days before what a source signs in with ends, and when it has; each once."""
        left_days = None if until is None else (until - now) / datetime.timedelta(days=1)
        days = None if left_days is None else next((days for days in _WARNINGS_DAYS if left_days <= days), None)
        said = self._said_days.get(source)
        if until is not None and days is not None and (said is None or days < said):
            reason = f"ends within {days} days" if days > 1 else "ends within a day" if days else "has ended"
            get_log(source=source).warning("token.expires", until=until.isoformat(), reason=reason)
        self._said_days[source] = days

    def note_wal(self, size_bytes: int) -> None:
        """Say once that the journal has become large, and once that it is not any more."""
        is_large = size_bytes > LARGE_WAL_BYTES
        if is_large and not self._wal_is_large:
            reason = "some program holds the database open for reading"
            get_log().warning("wal.large", size_bytes=size_bytes, reason=reason)
        elif self._wal_is_large and not is_large:
            get_log().info("wal.small", size_bytes=size_bytes)
        self._wal_is_large = is_large

    def note_configuration(self, error: FleetsyncError | None) -> None:
        """Take note of whether a configuration was refused, so that the one before it runs on."""
        self._refused = None if error is None else str(error).partition("\n")[0]
        self._say()

    def _say(self) -> None:
        text = self.text
        if text != self._text:
            self._text = text
            self._tell(text)

    @property
    def text(self) -> str:
        """One line about the whole."""
        parts = [counted(len(self._sources), "source")]
        parts += [f"{name} {wrong.reason}" for name, wrong in sorted(self._wrong.items())]
        # What cannot be stored is in no view either.
        parts += sorted(set(self._unrecorded.values()))
        if self._refused is not None:
            parts.append(f"new configuration refused, the old one runs on: {self._refused}")
        return "; ".join(parts)


def _wrong(errors: Sequence[FleetsyncError]) -> _Wrong:
    """Return of what sort errors are: in a word, those of the view `sources` and one more, and by fault class."""
    is_unrecorded = any(isinstance(error, MirrorError) for error in errors)
    return _Wrong(
        reason="unrecorded" if is_unrecorded else state_of(errors),
        fault=next(filter(None, map(source_fault_of, errors)), None),
        waits=any(isinstance(error, NotYetError) for error in errors),
    )
