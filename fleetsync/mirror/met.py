"""Which resources first loads have met so far, in a fixed amount of memory."""

from array import array
from collections.abc import Collection, Iterable

_SLOTS = 1 << 21
"""Four bytes each."""
_MOST = _SLOTS * 3 // 4
"""So many can be met; then a search would take long."""
_BITS = _SLOTS.bit_length() - 1
_PLACES = _SLOTS - 1
_MARKS = (1 << 32) - 1


class Met:
    """A set of ids that never overlooks one. It may take one for another, once in many loads of a million.

    Of an id it keeps 32 bits of its hash, in a place that says 21 more; so it costs the same however many there are.
    """

    def __init__(self) -> None:
        self._slots = array("I", [0]) * _SLOTS
        self._left = _MOST

    def takes(self, of: tuple[str, str], ids: Collection[str]) -> bool:
        """Put ids of a source and type in, and say whether all of them are certainly new.

        Where it says no, it is of no use any more: not all of them are in it.
        """
        self._left -= len(ids)
        if self._left < 0:
            return False
        slots, salt = self._slots, hash(of)
        for hashed in map(hash, ids):
            own = hashed ^ salt
            place = own & _PLACES
            mark = own >> _BITS & _MARKS or 1
            while there := slots[place]:
                if there == mark:
                    return False
                place = place + 1 & _PLACES
            slots[place] = mark
        return True

    def may_know(self, of: tuple[str, str], ids: Iterable[str]) -> bool:
        """Say whether one of these ids of a source and type may be in it."""
        slots, salt = self._slots, hash(of)
        for hashed in map(hash, ids):
            own = hashed ^ salt
            place = own & _PLACES
            mark = own >> _BITS & _MARKS or 1
            while there := slots[place]:
                if there == mark:
                    return True
                place = place + 1 & _PLACES
        return False
