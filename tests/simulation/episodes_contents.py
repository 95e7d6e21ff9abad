"""What answers hold that is odd: entry 7 of the list of faults, and of 11 and 22 what stands in documents."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fleetsync.simulator import SimResponse
from tests.simulation.episode import ALL, Begin, Change, Episode, answers_changed, lasting_s, mischief_of
from tests.simulation.network import Exchange
from tests.simulation.place import Place

_ETAGS: Mapping[str, bytes] = {
    "an ETag that is null": b"null",
    "an ETag that is a number": b"12345",
    "an ETag that is weak": b'"W/\\"1\\""',
    "an ETag with quotes inside": b'"a\\"b\\"c"',
    "an ETag that changes by itself": b'"changing-%d"',
    "an ETag that is missing": b"",
    "content that changes under one ETag": b'"always-the-same"',
}


def _etags(text: bytes) -> Begin:
    def begin(mischief: Any, name: str, place: Place) -> None:
        changes = [0]

        def change(exchange: Any) -> None:
            if exchange.place is place and exchange.method == "GET" and exchange.answer.status == 200:
                changes[0] += 1
                new = text % changes[0] if b"%d" in text else text
                if place.change_etags(exchange, new):
                    mischief.count(name)
                    place.troubled_s = mischief.world.agenda.now_s

        mischief.world.tamper.append(change)
        mischief.later(lasting_s(mischief.random, place), lambda: mischief.world.tamper.remove(change))

    return begin


for _name, _text in _ETAGS.items():
    ALL[_name] = Episode(fault=7, begin=_etags(_text), suits=lambda place: place.has_etags)


@mischief_of(7, "unknown members and values", suits=lambda place: place.takes_odd_texts)
def _unknown(mischief: Any, name: str, place: Place) -> None:
    """Somebody adds what no schema knows; it stays."""
    place.edit_oddly(mischief.random, {"zzUnknown": {"new": [1, None, {"a": "b"}]}})
    mischief.count(name)


_TEXTS: Mapping[str, object] = {
    "NUL in a text": "a\0b",
    "half a surrogate pair": "a\ud800b",
    "a huge integer": 10**30,
    "a text for terminals": "\x1b[2J\n<2>all is lost",
}


def _odd_text(value: object) -> Begin:
    def begin(mischief: Any, name: str, place: Place) -> None:
        undo = place.edit_oddly(mischief.random, {"zzOdd": value})
        mischief.count(name)
        place.troubled_s = mischief.world.agenda.now_s
        mischief.later(lasting_s(mischief.random, place), undo)

    return begin


for _name, _value in _TEXTS.items():
    ALL[_name] = Episode(
        fault=22 if "terminals" in _name else 11, begin=_odd_text(_value), suits=lambda place: place.takes_odd_texts
    )


# Words, types and versions that nobody expects: they are changed on their way

_VERSION = re.compile(rb'"(\$?version)":\d+')


def _in_bodies(change: Callable[[bytes, Place], bytes]) -> Change:
    def changed(answer: SimResponse, exchange: Exchange) -> SimResponse | None:
        if exchange.method not in ("GET", "POST") or answer.status != 200:
            return None
        body = change(answer.body, exchange.place)
        return None if body == answer.body else replace(answer, body=body)

    return changed


def _unknown_word(body: bytes, place: Place) -> bytes:
    return body if place.unknown_word is None else body.replace(*place.unknown_word)


def _twice(body: bytes, _place: Place) -> bytes:
    """Say something twice, and not the same, in the first document of an answer."""
    start = body.find(b"[{")
    start = body.find(b"{") if start < 0 else start + 1
    return body[: start + 1] + b'"zzTwice":1,"zzTwice":2,' + body[start + 1 :] if b'{"' in body[start:] else body


ALL["an unknown word of an enumeration"] = Episode(
    fault=7, begin=answers_changed(_in_bodies(_unknown_word)), suits=lambda place: place.unknown_word is not None
)
ALL["a value of another type"] = Episode(
    fault=7, begin=answers_changed(_in_bodies(lambda body, place: body.replace(*place.new_type)))
)
ALL["$version that steps back"] = Episode(
    fault=7,
    begin=answers_changed(_in_bodies(lambda body, _: _VERSION.sub(rb'"\1":1', body)), 0.5),
    suits=lambda place: place.kind == "iot-hub",
)
ALL["a member twice in one object"] = Episode(fault=11, begin=answers_changed(_in_bodies(_twice), 0.5))
