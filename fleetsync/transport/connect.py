"""Stacks the layers."""

from fleetsync.clock import Clock
from fleetsync.transport.auth import Authorized, Tokens
from fleetsync.transport.client import Client
from fleetsync.transport.http import Http, Request
from fleetsync.transport.limiter import Limited, Limiter, Meter, urgency_of
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

    async def admit(request: Request) -> None:
        await limiter.admit(request.operation, urgency_of(request))

    client = Client(session, origin, clock)
    return Retrying(Limited(Authorized(client, tokens, admit=admit), limiter, meter), clock)
