"""A SQLite that is too old is named, before it fails on some syntax."""

import sqlite3
from pathlib import Path

import pytest

from fleetsync.errors import MirrorError
from fleetsync.mirror.mirror import open_mirror
from fleetsync.mirror.reader import Reader
from tests.fakes.clock import FakeClock


async def test_an_old_sqlite_is_refused_by_name_whoever_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.db"
    async with open_mirror(path, [], FakeClock()):
        pass
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(MirrorError, match=r"is too old: fleetsync needs 3\.39 or newer"):
        Reader(path, FakeClock())
    with pytest.raises(MirrorError, match="is too old"):
        async with open_mirror(path, [], FakeClock()):
            pass
