"""May it go ahead? What stands before everything that could do harm on a large scale."""

from dataclasses import dataclass

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
        share = unseen / known
        raise UnsafePlanError(
            f"a suspiciously short listing: {unseen} of {known} known are not in it "
            f"({share:.0%}, more than max_gone = {max_gone:.0%})"
        )
    counted = showing.counted or 0
    if counted >= min_known and counted - showing.listed > counted * max_gone:
        raise UnsafePlanError(
            f"a suspiciously short listing: {showing.listed} are in it, and the service itself counts {counted}"
        )


def check_plan(*, known: int, changes: int, max_writes: float, min_known: int) -> None:
    """Refuse a plan that changes more than its share of what is known.

    Raises:
        UnsafePlanError: not one of its changes may be sent.
    """
    if known < min_known or changes <= known * max_writes:
        return
    share = changes / known
    raise UnsafePlanError(
        f"a plan with {changes} writes on {known} known resources "
        f"({share:.0%}, more than max_writes = {max_writes:.0%})"
    )
