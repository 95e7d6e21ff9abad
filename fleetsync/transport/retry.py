"""Repeating: the only place that sends a request again because it failed."""

from msgspec import Struct

from fleetsync.clock import Clock
from fleetsync.core.pace import backoff_s
from fleetsync.errors import CircuitOpenError, ThrottledError, TransientError
from fleetsync.transport.http import Http, Request, Response


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How often, and how long at most.

    `attempts` counts every sending of a request that meets faults, `throttled_attempts` of one that meets refusals.
    A service that asks for more than `patience_s` gets no further request; the error goes up.
    """

    attempts: int = 4
    throttled_attempts: int = 10
    patience_s: float = 120.0
    max_backoff_s: float = 30.0


class Retrying:
    """Sends until it is done, or until sending again would be wrong or pointless.

    A refusal because of the rate was not carried out and is repeated whatever the method; the limiter below does
    the waiting. What may have been carried out is repeated only where that does no harm. Terminal errors never are, and
    nothing is while the source is left alone.
    """

    def __init__(self, http: Http, clock: Clock, policy: RetryPolicy | None = None) -> None:
        self._http = http
        self._clock = clock
        self._policy = policy or RetryPolicy()

    async def send(self, request: Request) -> Response:
        """Send `request` as often as its class of failure allows and return the answer.

        Raises:
            SourceError: the last failure.
        """
        faults = refusals = 0
        while True:
            try:
                return await self._http.send(request)
            except CircuitOpenError:
                raise
            except ThrottledError as error:
                refusals += 1
                if refusals >= self._policy.throttled_attempts or self._asks_too_much(error):
                    raise
            except TransientError as error:
                faults += 1
                if (
                    faults >= self._policy.attempts
                    or self._asks_too_much(error)
                    or (error.sent and not request.is_safe)
                ):
                    raise
                await self._clock.sleep(self._pause_s(faults, error))

    def _asks_too_much(self, error: TransientError) -> bool:
        return (error.retry_after_s or 0.0) > self._policy.patience_s

    def _pause_s(self, faults: int, error: TransientError) -> float:
        pause_s = backoff_s(faults, self._clock.jitter(), cap_s=self._policy.max_backoff_s)
        return max(pause_s, error.retry_after_s or 0.0)
