"""Stacks the layers."""

from fleetsync.clock import Clock
from fleetsync.transport.auth import Authorized, Tokens
from fleetsync.transport.client import Client
from fleetsync.transport.http import Http
from fleetsync.transport.limited import Limited, Meter
from fleetsync.transport.limiter import Limiter
from fleetsync.transport.origin import Origin
from fleetsync.transport.retry import Retrying
from fleetsync.transport.session import Session


def connect(
    session: Session,
    *,
    origin: Origin,
    tokens: Tokens,
    limiter: Limiter,
    clock: Clock,
    meter: Meter | None = None,
) -> Http:
    """Return a way to send requests to `origin`; nothing is sent yet.

    Sessions may be shared by sources with the same trust and proxy, limiters by sources of the same quota scope.
    """

    client = Client(session, origin, clock)
    return Retrying(Authorized(Limited(client, limiter, meter), tokens), clock)
