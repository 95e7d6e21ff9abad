"""May it go ahead? What stands before everything that could do harm on a large scale."""

from dataclasses import dataclass

from fleetsync.core.words import counted
from fleetsync.errors import UnsafePlanError


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """What a complete listing showed: `shown` different resources, and `unseen` of the `known` ones not among them.

    `listed` are its entries; some may be listed twice. `counted` is how many there are by another word of the service,
    None where it has none. `added` are those that no listing before had shown, `usual` by how much the count exceeded
    the list the last time that the list missed nothing; 0 where that is not known.
    """

    listed: int
    shown: int
    known: int
    unseen: int
    counted: int | None = None
    added: int = 0
    usual: int = 0

    @property
    def missing(self) -> int:
        """Return how many should be in it and are not."""
        return max(self.unseen, self._excess)

    @property
    def nominates(self) -> bool:
        """Say whether what it did not show may be gone.

        Not if the service counts more than it shows, by more than what came while it went on (no more than came since
        the one before it) or what the count always has in excess.
        """
        return self._excess <= max(self.added, self.usual)

    @property
    def confirms(self) -> bool:
        """Say whether what it did not show, and an earlier one did not either, may be gone without a read."""
        return self._excess <= max(0, self.usual)

    @property
    def disagreement(self) -> str | None:
        """Say how the list and the service's own count differ by more than what came meanwhile; None: they do not."""
        if self.nominates and -self._excess <= max(self.added, -self.usual):
            return None
        return f"the service itself counts {self.counted}, and its list shows {self.shown}"

    @property
    def _excess(self) -> int:
        return 0 if self.counted is None else self.counted - self.shown


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
    if there >= min_known and there - showing.shown > there * max_gone:
        raise UnsafePlanError(
            f"a suspiciously short listing: {showing.shown} are in it, and the service itself counts {there}"
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
