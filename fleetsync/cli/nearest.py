"""What to say of a resource that is not there."""

import difflib

from fleetsync.core.model import DEVICE
from fleetsync.errors import NotFoundError
from fleetsync.mirror.reader import Reader

_MOST = 3
_LIKE = (
    "SELECT id FROM resources WHERE source = ? AND type = ? AND gone_at IS NULL"
    " ORDER BY lower(id) = lower(?) DESC, instr(lower(id), lower(?)) > 0 DESC, substr(id, 1, 4) = substr(?, 1, 4) DESC,"
    " abs(length(id) - length(?)) LIMIT 5000"
)


_GONE = "SELECT gone_at, gone_reason FROM resources WHERE source = ? AND type = ? AND id = ? AND gone_at IS NOT NULL"


def unknown(reader: Reader, source: str, type: str, id: str) -> NotFoundError:
    """Return the error for what is not there: since when it is gone, and why, or the nearest ids where it never was."""
    for at, reason in reader.rows(_GONE, (source, type, id)):
        rest = f"`fleetsync history {source} {id}{'' if type == DEVICE else f' --type {type}'}` shows what it was"
        return NotFoundError(f"{type} {id!r} in source {source} is gone since {at}: {reason}; {rest}")
    ids = [found for (found,) in reader.rows(_LIKE, (source, type, id, id, id, id))]
    folded = {found.lower(): found for found in ids}
    near = [folded[match] for match in difflib.get_close_matches(id.lower(), folded, n=_MOST, cutoff=0.5)]
    hint = f"; near it: {', '.join(map(repr, near))}" if near else ""
    return NotFoundError(f"no {type} {id!r} in source {source}{hint}")
