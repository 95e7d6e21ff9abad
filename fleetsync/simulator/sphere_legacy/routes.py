"""What a request to the Azure Sphere public API is about: the path taken apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote

from fleetsync.simulator.wire import Kind, RefusedError

Aspect: TypeAlias = Literal[
    "tenants", "devices", "group-devices", "product-devices", "device", "move", "groups", "product-groups", "group",
    "products", "product", "deployments", "insights", "operation",
]  # fmt: skip

_BELOW: Final[Mapping[tuple[str, ...], Aspect]] = {
    ("devices",): "devices",
    ("devices", "*"): "device",
    ("devices", "*", "devicegroup"): "move",
    ("devicegroups",): "groups",
    ("devicegroups", "*"): "group",
    ("devicegroups", "*", "devices"): "group-devices",
    ("devicegroups", "*", "deployments"): "deployments",
    ("products",): "products",
    ("products", "*"): "product",
    ("products", "*", "devices"): "product-devices",
    ("products", "*", "devicegroups"): "product-groups",
    ("getdeviceinsights",): "insights",
    ("operations", "*"): "operation",
}
"""What is below a tenant; words are compared without letter case, and `*` is an id."""

_TYPES: Final[Mapping[Aspect, str]] = {
    "tenants": "tenant",
    "devices": "device",
    "group-devices": "device",
    "product-devices": "device",
    "device": "device",
    "move": "device",
    "groups": "device-group",
    "product-groups": "device-group",
    "group": "device-group",
    "products": "product",
    "product": "product",
    "deployments": "deployment",
    "insights": "device-insight",
    "operation": "operation",
}
_LISTS: Final = frozenset(
    {"devices", "group-devices", "product-devices", "groups", "product-groups", "products", "deployments", "insights"}
)
_METHODS: Final[Mapping[Aspect, str]] = {"move": "PUT", "group": "PATCH"}
"""How the two things are written that can be; all but the move can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A resource and what is wanted of it; ids as they were sent, empty where the path has none."""

    aspect: Aspect
    tenant: str = ""
    id: str = ""

    @property
    def type(self) -> str:
        """Return what the books call it."""
        return _TYPES[self.aspect]


def route_of(path: str) -> Route:
    """Return what a raw path is about.

    Raises:
        RefusedError: 404, nothing that is served here.
    """
    words = [unquote(word) for word in path.strip("/").split("/")]
    if [word.lower() for word in words[:2]] != ["v2", "tenants"]:
        raise RefusedError(404, "NotFound", "there is nothing at this path")
    if len(words) == 2:
        return Route(aspect="tenants")
    tenant, below = words[2], words[3:]
    shape = tuple("*" if index % 2 else word.lower() for index, word in enumerate(below))
    aspect = _BELOW.get(shape)
    if aspect is None:
        raise RefusedError(404, "NotFound", "there is nothing at this path")
    return Route(aspect=aspect, tenant=tenant, id="".join(below[1:2]))


def kind_of(method: str, route: Route) -> Kind:
    """Return what kind of request it is."""
    if method != "GET":
        return "write"
    return "list" if route.aspect in _LISTS else "read"


def check_method(method: str, route: Route) -> None:
    """Refuse what cannot be done with a resource, or is not simulated.

    Raises:
        RefusedError: 405.
    """
    if method == _METHODS.get(route.aspect) or (method == "GET" and route.aspect != "move"):
        return
    raise RefusedError(405, "MethodNotAllowed", f"{method} is not possible here")
