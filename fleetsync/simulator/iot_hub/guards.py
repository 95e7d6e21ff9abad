"""If-Match as IoT Hub understands it: quoted, or not at all.

Facts: an etag without its quotes is ignored without a word, and the write goes through (Azure/azure-iot-sdk-node issue
606, -java 574, -python 716); `""` counts as absent; the star is understood with and without quotes.
"""

from fleetsync.simulator.counters import Guard
from fleetsync.simulator.wire import RefusedError

STAR = "*"


def guard_of(if_match: str | None, etag: str | None) -> Guard:
    """Return how a write is guarded; `etag` is the stored one, None where there is no resource."""
    sent = (if_match or "").strip()
    if sent in ("", '""'):
        return Guard(form="if-match")
    if sent in (STAR, f'"{STAR}"'):
        return Guard(form="if-match", sent=STAR, quoted=sent != STAR)
    quoted = len(sent) > 1 and sent.startswith('"') and sent.endswith('"')
    current = None if etag is None else sent.strip('"') == etag
    return Guard(form="if-match", sent=sent, quoted=quoted, current=current)


def is_heeded(guard: Guard) -> bool:
    """True for a guard that names an etag in a way that the service understands."""
    return guard.sent not in (None, STAR) and guard.quoted is True


def enforce(guard: Guard, message: str) -> None:
    """Refuse a write whose guard names another etag than the stored one, or one where nothing is stored.

    Raises:
        RefusedError: 412.
    """
    if is_heeded(guard) and not guard.current:
        raise RefusedError(412, "PreconditionFailed", message)


def enforce_put(guard: Guard, *, exists: bool, taken: str, message: str) -> None:
    """Refuse a PUT of an identity or configuration that its guard does not allow; without one it creates only.

    Raises:
        RefusedError: 409 named `taken` for what exists, 412 for another etag or for an etag of what does not exist.
    """
    if exists and guard.sent is None:
        raise RefusedError(409, taken, "Conflict")
    if not exists and guard.sent == STAR:
        raise RefusedError(412, "PreconditionFailed", message)
    enforce(guard, message)
