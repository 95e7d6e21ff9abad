"""May it go ahead? What stands before everything that could do harm on a large scale."""

from dataclasses import dataclass

from fleetsync.core.words import counted
from fleetsync.errors import UnsafePlanError


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """What a complete listing showed: `listed` resources, and `unseen` of the `known` ones not among them.

    `counted` is how many there are by another word of the service, None where it has none.
    """

    listed: int
    known: int
    unseen: int
    counted: int | None = None

    @property
    def missing(self) -> int:
        """Return how many should be in it and are not."""
        return max(self.unseen, (self.counted or 0) - self.listed)


def check_listing(showing: Showing, *, max_gone: float, min_known: int) -> None:
    """Refuse a complete listing that is suspiciously short.

    An empty listing of something that was not empty is refused whatever `max_gone` says.

    Raises:
        UnsafePlanError: nothing of it may be marked gone.
    """
    known, unseen = showing.known, showing.unseen
    if unseen and not showing.listed:
        raise UnsafePlanError(f"an empty listing, although {known} are known")
    if known >= min_known and unseen > known * max_gone:
        share, most = _percentages(unseen / known, max_gone)
        raise UnsafePlanError(
            f"a suspiciously short listing: {unseen} of {known} known are not in it "
            f"({share}, more than max_gone = {most})"
        )
    there = showing.counted or 0
    if there >= min_known and there - showing.listed > there * max_gone:
        raise UnsafePlanError(
            f"a suspiciously short listing: {showing.listed} are in it, and the service itself counts {there}"
        )


def check_plan(*, known: int, changes: int, max_writes: float, min_known: int) -> None:
    """Refuse a plan that changes more than its share of what is known; 100 % is no limit.

    A resource may take several writes, one for each of its parts.

    Raises:
        UnsafePlanError: not one of its changes may be sent.
    """
    if known < min_known or changes <= known * max_writes or max_writes >= 1:
        return
    share, most = _percentages(changes / known, max_writes)
    raise UnsafePlanError(
        f"a plan with {counted(changes, 'write')} on {counted(known, 'known resource')} "
        f"({share}, more than max_writes = {most})"
    )


def _percentages(share: float, limit: float) -> tuple[str, str]:
    """Return a share and the limit that it exceeds, with as many decimals as it takes to see that."""
    texts = (f"{share:.{decimals}%}" for decimals in range(10))
    return next((text for text in texts if float(text[:-1]) > limit * 100), f"{share:%}"), f"{limit * 100:.9g}%"
