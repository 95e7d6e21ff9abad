"""What a request to Azure Resource Manager is about: the path taken apart, as the service compares it, without case."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import unquote

from fleetsync.simulator.wire import Kind, RefusedError

Words: TypeAlias = tuple[str, ...]

SPHERE: Final = "Microsoft.AzureSphere"
DEVICES: Final = "Microsoft.Devices"

CATALOG: Final[Words] = ("catalogs",)
PRODUCT: Final[Words] = ("catalogs", "products")
GROUP: Final[Words] = ("catalogs", "products", "deviceGroups")
DEVICE: Final[Words] = (*GROUP, "devices")
DEPLOYMENT: Final[Words] = (*GROUP, "deployments")
IMAGE: Final[Words] = ("catalogs", "images")
CERTIFICATE: Final[Words] = ("catalogs", "certificates")
HUB: Final[Words] = ("IotHubs",)

TYPES: Final[Mapping[Words, str]] = {
    CATALOG: "catalog",
    PRODUCT: "product",
    GROUP: "device-group",
    DEVICE: "device",
    DEPLOYMENT: "deployment",
    IMAGE: "image",
    CERTIFICATE: "certificate",
    HUB: "hub",
}
"""What the books call a resource, by the words of its path."""

_PROVIDERS: Final = {SPHERE.lower(): SPHERE, DEVICES.lower(): DEVICES}
_OWN: Final = {words: DEVICES if words == HUB else SPHERE for words in TYPES}
_KNOWN: Final = {tuple(word.lower() for word in words): words for words in TYPES}

_ACTIONS: Final[Mapping[tuple[Words, str], str]] = {
    (CATALOG, "listDevices"): "POST",
    (CATALOG, "listDeviceGroups"): "POST",
    (CATALOG, "listDeployments"): "POST",
    (CATALOG, "listDeviceInsights"): "POST",
    (CATALOG, "countDevices"): "POST",
    (PRODUCT, "countDevices"): "POST",
    (GROUP, "countDevices"): "POST",
    (HUB, "IotHubStats"): "GET",
    (HUB, "quotaMetrics"): "GET",
}
"""What can be asked of one resource, besides what it is, and by which method."""

_ACTION_NAMES: Final = {(words, name.lower()): name for words, name in _ACTIONS}

_LISTED: Final[Mapping[str, Words]] = {
    "listDevices": DEVICE,
    "listDeviceGroups": GROUP,
    "listDeployments": DEPLOYMENT,
    "listDeviceInsights": (),
}
"""What an action lists; insights are no resources."""

_NO_WRITES: Final = frozenset({DEPLOYMENT, IMAGE, CERTIFICATE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A resource, a list of resources or an action.

    `names` are as addressed, one for each word, or one fewer for a list. `group` is None for what a whole
    subscription holds. `operation` is set for polls only.
    """

    words: Words = ()
    names: tuple[str, ...] = ()
    group: str | None = None
    action: str = ""
    path: str = ""
    """The decoded path up to the resource, as addressed."""
    operation: str = ""

    @property
    def is_list(self) -> bool:
        """True for all resources of a type that a place holds."""
        return not self.action and not self.operation and len(self.names) < len(self.words)

    @property
    def listed(self) -> Words | None:
        """Return the words of what is listed, by GET or by POST; None when nothing is."""
        return self.words if self.is_list else _LISTED.get(self.action)

    @property
    def type(self) -> str:
        """Return what the books call it."""
        if self.operation:
            return "operation"
        listed = self.listed
        if listed is not None:
            return f"{TYPES.get(listed, 'insight')}s"
        return self.action or TYPES[self.words]

    @property
    def key(self) -> str:
        """Return the key of the resource, or of what holds the list."""
        return "/".join(name.lower() for name in self.names[1:])

    @property
    def catalog(self) -> str:
        """Return the key of the catalog or hub."""
        return f"{self.group}/{self.names[0]}".lower()


def route_of(method: str, path: str, subscription: str) -> Route:
    """Return what a raw path is about.

    Raises:
        RefusedError: 404, nothing that is served here, or a subscription of somebody else; 405, not by that method.
    """
    segments = [unquote(segment) for segment in path.removeprefix("/").split("/")]
    if len(segments) < 4 or segments[0].lower() != "subscriptions":
        raise RefusedError(404, "NotFound", "there is nothing at this path")
    if segments[1].lower() != subscription:
        raise RefusedError(404, "SubscriptionNotFound", f"The subscription '{segments[1]}' could not be found.")
    group, rest = None, segments[2:]
    if rest[0].lower() == "resourcegroups":
        group, rest = rest[1], rest[2:]
    provider = _PROVIDERS.get(rest[1].lower()) if len(rest) > 2 and rest[0].lower() == "providers" else None
    if provider is None:
        raise RefusedError(404, "InvalidResourceType", "The resource type could not be found in the namespace.")
    rest = rest[2:]
    if rest[0].lower() == "locations":
        return _polled(method, rest)
    found = _recognised(provider, rest, group, path)
    _check_method(method, found)
    return found


def kind_of(method: str, route: Route) -> Kind:
    """Return what kind of request it is; to the books a list is one, also when it is a POST."""
    if route.listed is not None:
        return "list"
    return "read" if method in ("GET", "HEAD") or route.action else "write"


def _recognised(provider: str, rest: list[str], group: str | None, path: str) -> Route:
    for length in (len(rest), len(rest) - 1):
        words = _KNOWN.get(tuple(word.lower() for word in rest[0:length:2]))
        names = tuple(rest[1:length:2])
        if words is None or _OWN[words] != provider:
            continue
        action = ""
        if length < len(rest):
            action = _ACTION_NAMES.get((words, rest[-1].lower()), "")
            if not action or len(names) < len(words):
                continue
        if group is None and names:
            continue
        resource = path.rpartition("/")[0] if action else path
        return Route(words=words, names=names, group=group, action=action, path=unquote(resource))
    raise RefusedError(404, "NotFound", "there is nothing at this path")


def _polled(method: str, rest: list[str]) -> Route:
    if method != "GET" or len(rest) != 4 or rest[2] not in ("operationStatuses", "operationResults"):
        raise RefusedError(404, "NotFound", "there is nothing at this path")
    return Route(operation=rest[3])


def _check_method(method: str, route: Route) -> None:
    if route.action:
        allowed = {_ACTIONS[route.words, route.action]}
        if _LISTED.get(route.action) is not None:
            # The pages after the first are asked for as Microsoft's generated clients do.
            allowed.add("GET")
    elif route.is_list or route.words in _NO_WRITES:
        allowed = {"GET"}
    else:
        allowed = {"GET", "PATCH"}
    if method not in allowed:
        raise RefusedError(405, "MethodNotAllowed", f"The method '{method}' is not allowed here.")
