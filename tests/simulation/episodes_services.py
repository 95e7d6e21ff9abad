"""What services answer that is wrong: entries 1 to 11 of the list of faults."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fleetsync.simulator import SimResponse
from fleetsync.simulator.bucket import Limit
from tests.simulation.episode import (
    ALL,
    HOUR_S,
    Begin,
    Episode,
    answers_changed,
    is_written_to,
    keep_busy,
    lasting_s,
    mischief_of,
)
from tests.simulation.network import Exchange
from tests.simulation.place import Place

# 1 to 11: what the service answers

_ANSWERS: Mapping[str, tuple[int, str]] = {
    "429 with seconds": (1, "retry-after=7:0.4"),
    "429 with a date": (1, "retry-after=date+90:0.3"),
    "429 without a time": (1, "status=429:0.3"),
    "429 with zero": (1, "retry-after=0:0.3"),
    "429 with a huge time": (1, "retry-after=99999999:0.05"),
    "429 with a negative time": (1, "retry-after=-5:0.3"),
    "429 with junk": (1, "retry-after=soon:0.3"),
    "429 to writes": (1, "write.retry-after=20:0.6"),
    "429 to lists": (1, "list.retry-after=20:0.4"),
    "late answers": (2, "latency=9s:0.7"),
    "500": (3, "status=500:0.3"),
    "502": (3, "status=502:0.3"),
    "503": (3, "status=503:0.5"),
    "504": (3, "status=504:0.5"),
    "an HTML page": (3, "html:0.3"),
    "an empty body": (3, "empty-body:0.3"),
    "null": (3, "null:0.3"),
    "an array": (3, "array:0.3"),
    "an error with 200": (3, "error-body:0.3"),
    "an empty list": (4, "empty-list:0.4"),
    "a short list": (4, "short-list=0.6:0.5"),
    "an empty page": (4, "empty-page:0.3"),
    "no array": (4, "no-value:0.3"),
    "a link that repeats": (5, "loop-link:0.3"),
    "a link to the first page": (5, "loop-link=first:0.4"),
    "a list without end": (5, "empty-page"),
    "a null where there is no link": (4, "null-link"),
    "a page ends early": (4, "short-page=0.5:0.5"),
    "a link to another port": (5, "foreign-link=http://127.0.0.1:7999:0.5"),
    "a link to another host": (5, "foreign-link=http://localhost:{port}:0.5"),
    "a link to another scheme": (5, "foreign-link=https://127.0.0.1:{port}:0.5"),
    "a link with a name before its host": (5, "foreign-link=http://127.0.0.1%3A{port}@127.0.0.1:7999:0.5"),
    "a dead cursor": (5, "dead-cursor:0.4"),
    "a device twice": (6, "twice:0.5"),
    "an answer lost after the write": (9, "write.reset:0.6"),
    "an error after the write": (9, "write.status-after=500:0.6"),
    "rubbish after the write": (9, "write.html:0.5"),
    "401": (10, "status=401"),
    "403, as after a role was removed": (10, "status=403"),
    "401 now and then": (10, "status=401:0.2"),
    "403 to writes": (10, "write.status=403"),
    "a redirect 301": (11, "status=301:0.4"),
    "a redirect 302": (11, "status=302:0.4"),
    "a redirect 303": (11, "status=303:0.4"),
    "a redirect 307": (11, "redirect=http://127.0.0.1:7999/:0.4"),
    "a redirect 308": (11, "status=308:0.4"),
    "a body of 40 MB": (11, "big-body=40MB@3"),
    "a body compressed 1000:1": (11, "zip-body=34MB@2"),
    "deep JSON": (11, "deep-json:0.3"),
    "NaN": (11, "nan:0.3"),
    "a body cut off": (11, "truncate:0.3"),
    "a hub that fails over": (6, "failing-over:0.2"),
    "a reset before": (12, "reset-before:0.3"),
    "a reset after": (12, "reset:0.2"),
}


def _answers(spec: str) -> Begin:
    def begin(mischief: Any, name: str, place: Place) -> None:
        place.wrong[name] = spec.format(port=place.port)
        place.go_wrong(", ".join(place.wrong.values()))

        def cure() -> None:
            place.wrong.pop(name, None)
            place.go_wrong(", ".join(place.wrong.values()))

        for_s = lasting_s(mischief.random, place)
        mischief.later(for_s, cure)
        if spec.startswith("write."):
            keep_busy(mischief, place, for_s)

    return begin


_IN_LISTS = (
    "list.",
    "empty-list",
    "empty-page",
    "short-",
    "loop-link",
    "dead-cursor",
    "no-value",
    "null-link",
    "twice",
)


def _fits(spec: str) -> Callable[[Place], bool]:
    """Return which places such a fault can happen at."""
    if spec.startswith("write."):
        return is_written_to
    if spec.startswith(("foreign-link", "null-link")):
        return lambda place: place.has_links
    if spec.startswith("short-page"):
        return lambda place: place.kind in ("iot-hub", "sphere-legacy")
    if spec.startswith("failing-over"):
        return lambda place: place.kind == "iot-hub"
    return (lambda place: place.has_lists) if spec.startswith(_IN_LISTS) else (lambda _: True)


for _name, (_fault, _spec) in _ANSWERS.items():
    ALL[_name] = Episode(fault=_fault, begin=_answers(_spec), suits=_fits(_spec))


@mischief_of(2, "a daily quota that is spent", suits=lambda place: place.has_daily_quota)
def _quota(mischief: Any, name: str, place: Place) -> None:
    place.spend_quota()

    def cure() -> None:
        place.recover()
        place.rests_until_s = mischief.world.machine.next_day_s()

    place.rests_until_s = mischief.world.machine.next_day_s()
    mischief.later(lasting_s(mischief.random, place), cure)
    mischief.count(name)


@mischief_of(8, "somebody else writes between our read and our write", suits=is_written_to)
def _between(mischief: Any, name: str, place: Place) -> None:
    def write(exchange: Any) -> None:
        asked = exchange.notes["asked"]
        if exchange.place is place and asked.kind == "write" and mischief.random.random() < 0.6:
            place.disturb(mischief.random, asked.type, asked.id)
            mischief.count(name)

    mischief.world.on_arrival.append(write)
    mischief.later(HOUR_S, lambda: mischief.world.on_arrival.remove(write))
    keep_busy(mischief, place, HOUR_S)


@mischief_of(10, "a token that is replaced, and known later", suits=lambda place: place.has_token)
def _rotate(mischief: Any, name: str, place: Place) -> None:
    renew = place.rotate()
    mischief.count(name)
    place.troubled_s = mischief.world.agenda.now_s

    def known() -> None:
        renew()
        mischief.world.write_configuration()
        place.troubled_s = mischief.world.agenda.now_s

    mischief.later(lasting_s(mischief.random, place), known)


# 1 and 2: throttling that is not what it seems


@mischief_of(1, "429 with much quota left by the headers", suits=lambda place: place.has_hints)
def _rich(mischief: Any, name: str, place: Place) -> None:
    place.hint(100_000)
    _refuse_by(mischief, name, place, "retry-after=9:0.3")


@mischief_of(1, "headers that say that nothing is left", suits=lambda place: place.has_hints)
def _poor(mischief: Any, name: str, place: Place) -> None:
    place.hint(0)
    mischief.later(lasting_s(mischief.random, place), place.recover)
    mischief.count(name)


def _refuse_by(mischief: Any, name: str, place: Place, spec: str) -> None:
    _answers(spec)(mischief, name, place)
    mischief.later(lasting_s(mischief.random, place), place.recover)


@mischief_of(1, "a service that takes less than is configured")
def _less(mischief: Any, name: str, place: Place) -> None:
    limit = Limit(per_s=0.5, burst=3, retry_after=mischief.random.choice((None, "1", "4")))
    mischief.later(lasting_s(mischief.random, place), place.limit(limit))
    mischief.count(name)


@mischief_of(2, "requests that queue before any is refused", suits=lambda place: place.kind == "iot-hub")
def _queue_at_hub(mischief: Any, name: str, place: Place) -> None:
    mischief.later(lasting_s(mischief.random, place), place.limit(Limit(per_s=1.0, burst=1, retry_after="3")))
    mischief.count(name)


@mischief_of(2, "calls that queue until they time out", suits=lambda place: place.kind == "cloud-relay")
def _queue_at_relay(mischief: Any, name: str, place: Any) -> None:
    place.queue(12.0)
    mischief.later(lasting_s(mischief.random, place), place.recover)
    place.troubled_s = mischief.world.agenda.now_s
    mischief.count(name)


# 3: pages of somebody else


def _html(answer: SimResponse, exchange: Exchange) -> SimResponse:
    return replace(answer, status=503, headers={"Content-Type": "text/html"}, body=b"<html><h1>Sorry</h1></html>")


ALL["an HTML page with 503"] = Episode(fault=3, begin=answers_changed(_html, 0.3))


# 4 to 6: fleets that are large, and that change while they are listed


@mischief_of(4, "more than 1000 devices", suits=lambda place: place.kind == "iot-central")
def _grow(mischief: Any, name: str, place: Place) -> None:
    if place.grow(1001):
        mischief.count(name)


@mischief_of(6, "devices that come, go and move between two pages", suits=lambda place: place.has_lists)
def _between_pages(mischief: Any, name: str, place: Place) -> None:
    def change(exchange: Exchange) -> None:
        asked = exchange.notes["asked"]
        if exchange.place is place and asked.kind == "list" and asked.cursor and mischief.random.random() < 0.3:
            place.operate(mischief.random)
            mischief.count(name)

    mischief.world.on_arrival.append(change)
    mischief.later(lasting_s(mischief.random, place), lambda: mischief.world.on_arrival.remove(change))


# 8: who else writes


@mischief_of(8, "a configuration of the service that fights with ours", suits=lambda place: place.kind == "iot-hub")
def _fight(mischief: Any, name: str, place: Any) -> None:
    mischief.later(lasting_s(mischief.random, place), place.fight())
    mischief.count(name)


# 9: operations


def _operates(place: Place) -> bool:
    return place.has_operations and is_written_to(place)


def _operations(begin: Callable[[Place], None]) -> Begin:
    def spoil(mischief: Any, name: str, place: Place) -> None:
        begin(place)
        for_s = lasting_s(mischief.random, place)
        # A place that says for how long it goes on says so of what begins from now on.
        started = len(place.cloud._books._writes)
        keep_busy(mischief, place, for_s)

        def end() -> None:
            place.recover()
            if any(write.by == "client" for write in [*place.cloud._books._writes][started:]):
                mischief.count(name)

        mischief.later(for_s, end)

    return spoil


for _name, _begin in {
    "operations that fail": lambda place: place.end_operations(failed=1.0),
    "operations that end with errors, or are cancelled": lambda place: place.end_operations(errors=1.0),
    "operations that are never heard of again": lambda place: place.go_on_for(20.0, kept_s=0.0),
    "operations that never end": lambda place: place.go_on_for(1e6),
}.items():
    ALL[_name] = Episode(fault=9, begin=_operations(_begin), suits=_operates)


# 10: signing in


@mischief_of(
    10, "a token that ends in the middle of a list", suits=lambda place: place.kind == "iot-hub" and place.has_token
)
def _expire(mischief: Any, name: str, place: Any) -> None:
    def end(exchange: Exchange) -> None:
        asked = exchange.notes["asked"]
        if exchange.place is place and asked.kind == "list" and asked.cursor and mischief.random.random() < 0.2:
            place.expire_token(exchange.headers.get("Authorization"))
            place.troubled_s = mischief.world.agenda.now_s
            mischief.count(name)

    mischief.world.on_arrival.append(end)
    mischief.later(lasting_s(mischief.random, place), lambda: mischief.world.on_arrival.remove(end))


def _for_hours(status: int) -> Begin:
    def begin(mischief: Any, name: str, place: Place) -> None:
        place.wrong[name] = f"status={status}"
        place.go_wrong(", ".join(place.wrong.values()))

        def cure() -> None:
            place.wrong.pop(name, None)
            place.go_wrong(", ".join(place.wrong.values()))

        mischief.later(3 * HOUR_S, cure)

    return begin


for _status in (401, 403):
    ALL[f"{_status} for hours"] = Episode(fault=10, begin=_for_hours(_status))
