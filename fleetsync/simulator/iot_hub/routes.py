"""What a request to an IoT Hub is about: the path taken apart, what it costs, and what it takes to be allowed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote

from fleetsync.simulator.iot_hub.auth import Right
from fleetsync.simulator.iot_hub.records import Key
from fleetsync.simulator.iot_hub.throttles import Operation
from fleetsync.simulator.wire import Kind, RefusedError

Aspect: TypeAlias = Literal[
    "identities", "identity", "module-identities", "module-identity", "query", "twin", "module-twin",
    "device-statistics", "service-statistics", "configurations", "configuration",
]  # fmt: skip

_READ, _WRITE, _CONNECT = Right.REGISTRY_READ, Right.REGISTRY_WRITE, Right.SERVICE_CONNECT

_RIGHTS: Final[Mapping[Aspect, Mapping[str, Right]]] = {
    "identities": {"GET": _READ},
    "identity": {"GET": _READ, "PUT": _WRITE, "DELETE": _WRITE},
    "module-identities": {"GET": _READ},
    "module-identity": {"GET": _READ, "PUT": _WRITE, "DELETE": _WRITE},
    "query": {"POST": _CONNECT},
    "twin": {"GET": _CONNECT, "PATCH": _CONNECT, "PUT": _CONNECT},
    "module-twin": {"GET": _CONNECT, "PATCH": _CONNECT, "PUT": _CONNECT},
    "device-statistics": {"GET": _READ},
    "service-statistics": {"GET": _READ},
    "configurations": {"GET": _READ | _CONNECT},
    "configuration": {"GET": _READ | _CONNECT, "PUT": _WRITE | _CONNECT, "DELETE": _WRITE | _CONNECT},
}
"""What there is, and what it takes; for configurations it is documented nowhere, so it takes both."""

_WHOLE: Final[Mapping[tuple[str, str], Aspect]] = {
    ("POST", "/devices/query"): "query",
    ("", "/statistics/devices"): "device-statistics",
    ("", "/statistics/service"): "service-statistics",
}
"""Paths without ids, by method; an empty one is any."""

_ASPECTS: Final[Mapping[tuple[tuple[str, ...], int], Aspect]] = {
    (("devices",), 0): "identities",
    (("devices",), 1): "identity",
    (("devices", "modules"), 1): "module-identities",
    (("devices", "modules"), 2): "module-identity",
    (("twins",), 1): "twin",
    (("twins", "modules"), 2): "module-twin",
    (("configurations",), 0): "configurations",
    (("configurations",), 1): "configuration",
}
"""The words of a path, and how many ids are between and behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A resource and what is wanted of it; `id` is that of a configuration."""

    aspect: Aspect
    key: Key = ("", "")
    id: str = ""

    @property
    def is_twin(self) -> bool:
        """True for the twin of a device or module."""
        return self.aspect in ("twin", "module-twin")

    @property
    def name(self) -> str:
        """Return what the books call the resource."""
        return self.id or "/".join(filter(None, self.key))


def route_of(method: str, path: str) -> Route:
    """Return what a raw path is about.

    Raises:
        RefusedError: 404, nothing that is served here.
    """
    whole = _WHOLE.get((method, path)) or _WHOLE.get(("", path))
    if whole is not None:
        return Route(aspect=whole)
    segments = [unquote(segment) for segment in path.removeprefix("/").split("/")]
    words, ids = tuple(segments[0::2]), segments[1::2]
    aspect = _ASPECTS.get((words, len(ids)))
    if aspect is None:
        raise RefusedError(404, "GenericNotFound", "there is nothing at this path")
    if words == ("configurations",):
        return Route(aspect=aspect, id="".join(ids))
    device, module = (*ids, "", "")[:2]
    return Route(aspect=aspect, key=(device, module))


def right_for(method: str, route: Route) -> Right:
    """Return the right that a request takes.

    Raises:
        RefusedError: 404 or 405, that is not possible there; the bulk operations of `POST /devices` are not simulated.
    """
    found = _RIGHTS[route.aspect].get(method)
    if found is None:
        status = 404 if method == "POST" else 405
        raise RefusedError(status, "GenericNotFound", f"{method} is not possible here")
    return found


def kind_of(method: str, route: Route) -> Kind:
    """Return what kind of request it is; pages of queries are the only lists that go on."""
    if route.aspect == "query":
        return "list"
    return "read" if method == "GET" else "write"


def operation_of(method: str, route: Route) -> Operation:
    """Return the class of operations whose limit applies."""
    if route.aspect == "query":
        return "query"
    if route.is_twin:
        return "twin_read" if method == "GET" else "twin_write"
    return "configuration" if route.aspect.startswith("configuration") else "registry"
