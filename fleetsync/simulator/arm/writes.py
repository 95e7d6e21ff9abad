"""What can be changed through Azure Resource Manager: tags, settings of groups, and the group of a device."""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from fleetsync.simulator.arm.errors import flat_code
from fleetsync.simulator.arm.hubs import Hubs
from fleetsync.simulator.arm.operations import Operations
from fleetsync.simulator.arm.routes import (
    CATALOG,
    DEVICE,
    DEVICES,
    GROUP,
    HUB,
    PRODUCT,
    SPHERE,
    TYPES,
    Route,
    Words,
    route_of,
)
from fleetsync.simulator.arm.shapes import Shown, document, etag, resource_id
from fleetsync.simulator.arm.tree import Catalog, Place, Tree
from fleetsync.simulator.counters import Call
from fleetsync.simulator.desk import Carried
from fleetsync.simulator.resources import Collection, Entry
from fleetsync.simulator.wire import Object, RefusedError, SimRequest, SimResponse, json_answer

_SETTINGS: Final[Mapping[str, frozenset[str] | None]] = {
    "description": None,
    "osFeedType": frozenset({"Retail", "RetailEval"}),
    "updatePolicy": frozenset({"UpdateAll", "No3rdPartyAppUpdates"}),
    "allowCrashDumpsCollection": frozenset({"Enabled", "Disabled"}),
    "regionalDataBoundary": frozenset({"None", "EU"}),
}
"""What of a group can be changed, and to what; None is any text."""

_SHOWN_NAMES: Final = {GROUP: "device group"}


class Writes:
    """Carries out PATCH; `slow` are the types, by their words, whose writes go on after the answer."""

    def __init__(self, tree: Tree, hubs: Hubs, operations: Operations, *, subscription: str) -> None:
        self.slow: set[Words] = {DEVICE}
        self._tree = tree
        self._hubs = hubs
        self._operations = operations
        self._subscription = subscription

    def write(self, request: SimRequest, route: Route, call: Call, *, origin: str, at: float) -> Carried:
        """Change a resource, at once or in a while."""
        body = request.object()
        if body is None:
            raise RefusedError(400, "InvalidRequestContent", "The request content was invalid.")
        entry = self.found(route)
        if route.words == CATALOG and call.guard is not None and call.guard.sent not in (None, "*", etag(entry)):
            raise RefusedError(412, "PreconditionFailed", "The condition of If-Match is not met.")
        if route.words == DEVICE:
            change, changed = self._moving(route, entry, body)
        else:
            patch = _checked(route.words, body)
            change, changed = self._editing(route, patch), self._would_change(entry, patch)
        if route.words not in self.slow:
            change(at)
            return Carried(answer=self._written(route, at=at), changed=changed)
        operation = self._operations.start(
            DEVICES if route.words == HUB else SPHERE,
            route.path,
            change,
            version=dict(parse_qsl(request.query))["api-version"],
            target=f"{route.catalog}/{route.names[-1]}".lower(),
            at=at,
        )
        headers = {"Content-Type": "application/json; charset=utf-8", **self._operations.headers(operation, origin)}
        return Carried(answer=SimResponse(status=202, headers=headers, body=b"null"), changed=changed)

    def edit(self, route: Route, patch: Mapping[str, object], *, at: float) -> bool:
        """Merge a patch into what a route is about, and return whether it changed anything."""
        entry = self.found(route)
        changed = self._would_change(entry, patch)
        self._editing(route, patch)(at)
        return changed

    def found(self, route: Route) -> Entry:
        """Return what a route is about, at the place that it names.

        Raises:
            RefusedError: 404, it is not there.
        """
        if route.words == HUB:
            entry = self._hubs.entries.get(route.catalog)
        elif route.words == CATALOG:
            entry = self._tree.entries.get(route.catalog)
        else:
            catalog = self._tree.catalog(route.catalog)
            entry = None if catalog is None else catalog.below[route.words].get(_key(route))
            if entry is not None and not _is_there(route, entry):
                entry = None
        if entry is None:
            raise self.missing(route)
        return entry

    def missing(self, route: Route) -> RefusedError:
        """Return the error for something that is not there: of a catalog or hub ARM knows itself."""
        if route.words in (HUB, CATALOG) or self._tree.catalog(route.catalog) is None:
            provider = f"{DEVICES}/IotHubs" if route.words == HUB else f"{SPHERE}/catalogs"
            message = (
                f"The Resource '{provider}/{route.names[0]}' under resource group '{route.group}' was not found. "
                "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
            )
            return RefusedError(404, "ResourceNotFound", message)
        what = _SHOWN_NAMES.get(route.words, TYPES[route.words])
        return RefusedError(404, "ResourceNotFound", f"The requested {what} was not found")

    def _moving(self, route: Route, entry: Entry, body: Object) -> tuple[Callable[[float], str], bool]:
        catalog = self._catalog(route)
        wanted = (body.get("properties") or {}).get("deviceGroupId")
        after = self._place(catalog, wanted) if isinstance(wanted, str) else None
        if after is None:
            raise RefusedError(400, "InvalidParameters", "The device group of the request was not found")
        if self._operations.is_busy(f"{route.catalog}/{route.names[-1]}".lower()):
            raise RefusedError(409, "Conflict", "Another operation is in progress for the device")
        device_id = entry.id
        names = entry.document["names"]

        def change(at: float) -> str:
            self._tree.move(catalog, device_id, after, at=at, by="client")
            shown = Shown(subscription=self._subscription, group=catalog.group, occasion="list", at=at)
            return resource_id(DEVICE, (catalog.name, *after, device_id), shown)

        return change, (names[1], names[2]) != after

    def _place(self, catalog: Catalog, group_id: str) -> Place | None:
        try:
            route = route_of("GET", group_id.replace(" ", "%20"), self._subscription)
        except RefusedError:
            return None
        if route.words != GROUP or len(route.names) != len(GROUP) or route.catalog != catalog.key:
            return None
        return self._tree.place(catalog, route.names[1], route.names[2])

    def _editing(self, route: Route, patch: Mapping[str, object]) -> Callable[[float], str]:
        def change(at: float) -> str:
            collection = self._collection(route)
            entry = collection.get(route.catalog if route.words in (HUB, CATALOG) else _key(route))
            if entry is not None:
                collection.put(entry.id, _merged(entry.document, patch), at=at)
            return route.path

        return change

    def _would_change(self, entry: Entry, patch: Mapping[str, object]) -> bool:
        return _merged(entry.document, patch) != entry.document

    def _collection(self, route: Route) -> Collection:
        if route.words == HUB:
            return self._hubs.entries
        return self._tree.collection(route.words, None if route.words == CATALOG else self._catalog(route))

    def _catalog(self, route: Route) -> Catalog:
        catalog = self._tree.catalog(route.catalog)
        if catalog is None:
            raise self.missing(route)
        return catalog

    def _written(self, route: Route, *, at: float) -> SimResponse:
        entry = self.found(route)
        if route.words == HUB:
            return json_answer(self._hubs.document(entry, self._subscription, addressed=route.path))
        catalog = self._catalog(route)
        shown = Shown(
            subscription=self._subscription, group=catalog.group, occasion="write", at=at, addressed=route.path
        )
        headers = {"ETag": etag(entry)} if route.words == CATALOG else {}
        return json_answer(document(route.words, entry, shown), headers=headers)


def _key(route: Route) -> str:
    """Return what a resource is kept under: devices under their id alone, wherever they are."""
    return route.names[-1].lower() if route.words == DEVICE else route.key


def _is_there(route: Route, entry: Entry) -> bool:
    return [name.lower() for name in entry.document["names"]] == [name.lower() for name in route.names]


def _merged(before: Mapping[str, object], patch: Mapping[str, object]) -> Object:
    after = dict(before)
    if isinstance(patch.get("properties"), Mapping):
        after["properties"] = {**before["properties"], **patch["properties"]}  # type: ignore[dict-item]  # objects, both
    if "tags" in patch:
        # Tags that are sent take the place of all.
        after["tags"] = dict(patch["tags"])  # type: ignore[call-overload]  # an object, as was checked
    return after


def _checked(words: Words, body: Object) -> Object:
    """Return what of a body is taken over.

    Raises:
        RefusedError: 400, in the shape of the provider.
    """
    if words in (HUB, CATALOG):
        return {"tags": _tags(words, body.get("tags"))}
    properties = body.get("properties")
    allowed = {"description": None} if words == PRODUCT else _SETTINGS
    if not isinstance(properties, dict):
        raise RefusedError(400, "InvalidParameters", "The properties are missing")
    for name, value in properties.items():
        values = allowed.get(name, frozenset()) if name in allowed else frozenset()
        if not isinstance(value, str) or (values is not None and value not in values):
            raise RefusedError(400, "InvalidParameters", f"The value of '{name}' is not valid")
    return {"properties": properties}


def _tags(words: Words, tags: object) -> Object:
    if isinstance(tags, dict) and all(isinstance(value, str) for value in tags.values()):
        return tags
    code = flat_code(400, 16) if words == HUB else "InvalidTags"
    raise RefusedError(400, code, "The tags are not valid. errorcode: IH400016.")
