"""Stacks the layers."""

from fleetsync.clock import Clock
from fleetsync.transport.auth import Authorized, Tokens
from fleetsync.transport.breaking import Breaking, Circuit
from fleetsync.transport.client import Client
from fleetsync.transport.http import Http
from fleetsync.transport.limited import Limited, Meter
from fleetsync.transport.origin import Origin
from fleetsync.transport.retry import Retrying
from fleetsync.transport.session import Session


def connect(
    session: Session,
    *,
    origin: Origin,
    tokens: Tokens,
    meter: Meter,
    circuit: Circuit,
    clock: Clock,
) -> Http:
    """Return a way to send requests to `origin`; nothing is sent yet.

    Sessions may be shared by sources with the same trust and proxy, limiters by sources of the same quota scope. A
    meter and a circuit are one source's.
    """
    client = Client(session, origin, clock)
    return Retrying(Breaking(Authorized(Limited(client, meter.limiter, meter), tokens), circuit), clock)
