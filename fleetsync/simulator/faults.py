"""What is to go wrong, and when: the fault specification.

Specifications are separated by commas, each `[KIND.]NAME[=ARGUMENT][:PROBABILITY | @ORDINALS]`. Without a
probability or ordinals it always happens. Ordinals count the requests that it could happen to, from 1,
since the faults were set: `@17`, `@3+5`, `@3-6`, `@3-` (from the third on). KIND (`list`, `read`,
`write`, `token`, `discovery`) narrows it to such requests. Without one, the faults of the last table happen to
lists only, the others to everything but sign-in; `token-NAME` is another way to write `token.NAME`.

Instead of carrying the request out:

| status=503         | that status, with the error body of the service                             |
| retry-after=2      | 429 with Retry-After as given: seconds, nonsense, `date` or `date+30`;        |
|                    | where `status` happens to the same request, that status with the header      |
| redirect=URL       | 307 to there                                                                 |
| reset-before       | the connection is closed                                                     |

After the request was carried out:

| latency=800ms      | the answer is late by that much                                              |
| reset              | the connection is closed instead of an answer                                |
| status-after=500   | an error answer nevertheless                                                 |
| truncate           | half of the body, then the connection is closed; `truncate=10` bytes of it   |
| html               | an HTML page with status 200                                                 |
| null, array        | `null` or `[]` with status 200                                               |
| empty-body         | nothing, with status 200                                                     |
| error-body         | an error, with status 200                                                    |
| deep-json, nan     | JSON that is 5,000 deep, or holds NaN, with status 200                       |
| slow-body=1s       | so much time between any two bytes                                           |
| big-body=100MB     | the body, filled up with blanks                                              |
| zip-body=100MB     | the same, compressed                                                         |

In lists:

| empty-page         | no entries, but a link to the same place; always so: an endless list          |
| empty-list         | no entries and no link                                                       |
| short-list=0.7     | the list ends after that share of the resources, without a link              |
| loop-link          | the link leads to the same page; `loop-link=first` back to the first          |
| foreign-link=URL   | the link leads to another origin                                             |
| dead-cursor        | the link that was followed is refused with 400, then and later               |
| no-value           | the member `value` is missing                                                |
| null-link          | where there is no link, the member is there and null                         |
| twice              | the last entry of the page before is repeated                                |

At an IoT Hub the lists are the pages of a query. There and at Azure Sphere's old service links are continuations in a
header, which cannot lead to another origin, and these are known:

| failing-over       | IoT Hub: 404 with the name of a fail-over, which says nothing about a device |
| short-page=0.5     | a page ends after that share of what it may hold, with a link                |
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TypeAlias, get_args
from urllib.parse import urlsplit

from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.wire import Kind

Drawn: TypeAlias = Mapping[str, str]
"""The faults that happen to one request: name to argument."""

_SPEC = re.compile(
    r"((?P<kind>[a-z]+)\.)?(?P<name>[a-z]+(-[a-z]+)*)(=(?P<argument>.+?))?"
    r"(@(?P<ordinals>\d[\d+-]*)|:(?P<probability>0?\.\d+|[01](\.\d+)?))?"
)
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}
_UNITS_BYTES = {"KB": 1_000, "MB": 1_000_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """What a fault takes: the check of its argument, the argument when none is given (None: it must be)."""

    check: str = "none"
    default: str | None = ""
    in_lists: bool = False
    services: tuple[str, ...] = ()
    """The services that know it; all of them where there is none here."""


_RULES: Mapping[str, _Rule] = {
    "status": _Rule(check="status", default=None),
    "retry-after": _Rule(check="text", default=None),
    "redirect": _Rule(check="url", default=None),
    "reset-before": _Rule(),
    "latency": _Rule(check="duration", default=None),
    "reset": _Rule(),
    "status-after": _Rule(check="status", default=None),
    "truncate": _Rule(check="count", default="half"),
    "html": _Rule(),
    "null": _Rule(),
    "array": _Rule(),
    "empty-body": _Rule(),
    "error-body": _Rule(),
    "deep-json": _Rule(),
    "nan": _Rule(),
    "slow-body": _Rule(check="duration", default="1s"),
    "big-body": _Rule(check="size", default="100MB"),
    "zip-body": _Rule(check="size", default="100MB"),
    "empty-page": _Rule(in_lists=True),
    "empty-list": _Rule(in_lists=True),
    "short-list": _Rule(check="share", default=None, in_lists=True),
    "loop-link": _Rule(check="first", default="same", in_lists=True),
    "foreign-link": _Rule(check="url", default=None, in_lists=True),
    "dead-cursor": _Rule(in_lists=True),
    "no-value": _Rule(in_lists=True),
    "null-link": _Rule(in_lists=True),
    "twice": _Rule(in_lists=True),
    "failing-over": _Rule(services=("iot-hub",)),
    "short-page": _Rule(check="share", default=None, in_lists=True, services=("iot-hub", "sphere-legacy")),
}
_ARGUMENTS = {
    "status": r"[1-5]\d\d",
    "text": r".+",
    "duration": r"\d+(\.\d+)?(ms|s|m)",
    "count": r"\d+",
    "size": r"\d+(KB|MB)",
    "share": r"0?\.\d+|0|1",
    "first": r"first",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One specification; `ordinals` are spans of request numbers, and empty when chance decides."""

    spec: str
    name: str
    argument: str
    kind: Kind | None
    probability: float
    ordinals: tuple[range, ...]

    def concerns(self, kind: Kind, service: str = "") -> bool:
        """True when it can happen to such a request of a service."""
        services = _RULES[self.name].services
        if services and service not in services:
            return False
        return kind == self.kind if self.kind is not None else kind not in ("token", "discovery")


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Read specifications; an empty text is no faults.

    Raises:
        SimulatorError: it names the specification that is wrong.
    """
    return tuple(_fault(spec.strip()) for spec in text.split(",") if spec.strip())


def duration_s(text: str) -> float:
    """Return the seconds of `800ms`, `2s` or `1m`."""
    number = text.rstrip("ms")
    return float(number) * _UNITS_S[text[len(number) :]]


def size_bytes(text: str) -> int:
    """Return the bytes of `64KB` or `100MB`."""
    return int(text[:-2]) * _UNITS_BYTES[text[-2:]]


class Injector:
    """Decides for every request which faults happen to it."""

    def __init__(self, faults: tuple[Fault, ...], random: Random) -> None:
        self.faults = faults
        self._random = random
        self._seen = [0] * len(faults)

    def draw(self, kind: Kind, service: str = "") -> Drawn:
        """Return the faults of the next request of this kind to a service."""
        drawn: dict[str, str] = {}
        for index, fault in enumerate(self.faults):
            if not fault.concerns(kind, service):
                continue
            self._seen[index] += 1
            if self._happens(fault, self._seen[index]):
                drawn[fault.name] = fault.argument
        return drawn

    def _happens(self, fault: Fault, ordinal: int) -> bool:
        if fault.ordinals:
            return any(ordinal in span for span in fault.ordinals)
        return fault.probability >= 1 or self._random.random() < fault.probability


def _fault(spec: str) -> Fault:
    match = _SPEC.fullmatch(_plain(spec))
    if match is None:
        raise SimulatorError(f'fault "{spec}" is not like "status=503:0.02" or "reset@17"')
    name = match["name"]
    rule = _RULES.get(name)
    if rule is None:
        nearest = difflib.get_close_matches(name, _RULES, n=1)
        hint = f'; did you mean "{nearest[0]}"' if nearest else f"; there are {', '.join(_RULES)}"
        raise SimulatorError(f'fault "{spec}": no fault is called "{name}"{hint}')
    return Fault(
        spec=spec,
        name=name,
        argument=_argument(spec, rule, match["argument"]),
        kind=_kind(spec, rule, match["kind"]),
        probability=float(match["probability"] or 1),
        ordinals=_ordinals(spec, match["ordinals"]),
    )


def _plain(spec: str) -> str:
    return f"token.{spec.removeprefix('token-')}" if spec.startswith("token-") else spec


def _kind(spec: str, rule: _Rule, kind: str | None) -> Kind | None:
    if kind is None:
        return "list" if rule.in_lists else None
    for known in get_args(Kind):
        if kind == known and (not rule.in_lists or kind == "list"):
            return known  # type: ignore[no-any-return]  # get_args forgets the type
    raise SimulatorError(f'fault "{spec}": it cannot happen to requests of kind "{kind}"')


def _argument(spec: str, rule: _Rule, argument: str | None) -> str:
    if argument is None:
        if rule.default is None:
            raise SimulatorError(f'fault "{spec}" needs an argument, as in "{spec}=..."')
        return rule.default
    if not _fits(rule.check, argument):
        raise SimulatorError(f'fault "{spec}": its argument cannot be "{argument}"')
    return argument


def _fits(check: str, argument: str) -> bool:
    if check == "url":
        parts = urlsplit(argument)
        return parts.scheme in ("http", "https") and bool(parts.netloc)
    return check in _ARGUMENTS and re.fullmatch(_ARGUMENTS[check], argument) is not None


def _ordinals(spec: str, text: str | None) -> tuple[range, ...]:
    if text is None:
        return ()
    spans = []
    for part in text.split("+"):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise SimulatorError(f'fault "{spec}": ordinals are like "17", "3+5", "3-6" or "3-"')
        end = int(last) if last else 10**12 if dash else int(first)
        spans.append(range(int(first), end + 1))
    return tuple(spans)
