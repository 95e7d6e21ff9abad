"""What to say of a resource that is not there."""

import difflib

from fleetsync.errors import NotFoundError
from fleetsync.mirror.reader import Reader

_MOST = 3
_LIKE = (
    "SELECT id FROM resources WHERE source = ? AND type = ? AND gone_at IS NULL"
    " ORDER BY lower(id) = lower(?) DESC, instr(lower(id), lower(?)) > 0 DESC, substr(id, 1, 4) = substr(?, 1, 4) DESC,"
    " abs(length(id) - length(?)) LIMIT 5000"
)


def unknown(reader: Reader, source: str, type: str, id: str) -> NotFoundError:
    """Return the error for an id that nobody knows; it names the nearest ones."""
    ids = [found for (found,) in reader.rows(_LIKE, (source, type, id, id, id, id))]
    folded = {found.lower(): found for found in ids}
    near = [folded[match] for match in difflib.get_close_matches(id.lower(), folded, n=_MOST, cutoff=0.5)]
    hint = f"; near it: {', '.join(map(repr, near))}" if near else ""
    return NotFoundError(f"no {type} {id!r} in source {source}{hint}")
