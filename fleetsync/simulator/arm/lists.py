"""The lists of Azure Resource Manager: by GET without a nextLink at their end, by POST with null.

Facts (recordings, read 2026-11): generated clients follow the nextLink of a POST list by GET, which is taken here.
"""

from collections.abc import Callable
from urllib.parse import parse_qsl

from fleetsync.simulator.arm.hubs import Hubs
from fleetsync.simulator.arm.links import SignedLinks, is_continuation
from fleetsync.simulator.arm.routes import CATALOG, DEVICE, GROUP, Route
from fleetsync.simulator.arm.shapes import Shown, document, insight
from fleetsync.simulator.arm.tree import Catalog, Tree
from fleetsync.simulator.faults import Drawn
from fleetsync.simulator.listing import Where, cut
from fleetsync.simulator.paging import ChangedLinkError, Position
from fleetsync.simulator.resources import Collection, Entry
from fleetsync.simulator.wire import Object, RefusedError, SimRequest, SimResponse, json_answer

DEFAULT_SIZE = 100


class Lists:
    """Cuts lists into pages of `page_size`; no client can ask for another size."""

    def __init__(self, tree: Tree, links: SignedLinks, *, subscription: str, page_size: int = DEFAULT_SIZE) -> None:
        self.links = links
        self.page_size = page_size
        self._tree = tree
        self._subscription = subscription
        self._listings = 0
        self._dead: set[str] = set()

    def answer(
        self, request: SimRequest, route: Route, catalog: Catalog | None, faults: Drawn, *, origin: str, at: float
    ) -> SimResponse:
        """Return a page of resources of Azure Sphere; without a catalog it is one of catalogs."""
        if route.action == "listDeviceGroups" and request.method == "POST" and request.object() is None:
            raise RefusedError(400, "InvalidRequestContent", "The request content was invalid.")
        words = route.listed or DEVICE
        collection = self._tree.collection(words, catalog)
        is_post = bool(route.action)

        def shown(entry: Entry) -> Object:
            if route.action == "listDeviceInsights":
                return insight(entry, 0)
            group = catalog.group if catalog is not None else self._group_of(entry)
            occasion = Shown(
                subscription=self._subscription, group=group, occasion="post-list" if is_post else "list", at=at
            )
            return document(words, entry, occasion)

        where = self._where(request, route)
        return self._page(request, collection, where, shown, faults, origin)

    def hubs(self, request: SimRequest, route: Route, hubs: Hubs, faults: Drawn, *, origin: str) -> SimResponse:
        """Return a page of hubs."""

        def where(entry: Entry) -> bool:
            return route.group is None or str(entry.document["group"]).lower() == route.group.lower()

        def shown(entry: Entry) -> Object:
            return hubs.document(entry, self._subscription)

        return self._page(request, hubs.entries, where, shown, faults, origin)

    def _page(
        self,
        request: SimRequest,
        collection: Collection,
        where: Where | None,
        shown: Callable[[Entry], Object],
        faults: Drawn,
        origin: str,
    ) -> SimResponse:
        position = self._position(request, faults)
        page = cut(collection, position, faults, where=where)
        link = None
        if page.next is not None:
            link = faults.get("foreign-link", origin).rstrip("/") + self.links.continuation(
                request.path, _version(request), page.next
            )
        body: Object = {} if "no-value" in faults else {"value": [shown(entry) for entry in page.entries]}
        is_post = "/list" in request.path.lower()
        if link is not None or is_post or "null-link" in faults:
            body["nextLink"] = link
        return json_answer(body)

    def _position(self, request: SimRequest, faults: Drawn) -> Position:
        if not is_continuation(request.target):
            self._listings += 1
            return Position(listing=self._listings, path=request.path, after="", size=self.page_size)
        if "dead-cursor" in faults:
            self._dead.add(request.query)
        try:
            position = self.links.position(request.path, _version(request), request.target)
        except ChangedLinkError:
            message = "The skip token is not valid: the link was changed on its way."
            raise RefusedError(400, "InvalidSkipToken", message) from None
        if request.query in self._dead:
            raise RefusedError(400, "InvalidSkipToken", "The skip token is no longer valid.")
        return position

    def _where(self, request: SimRequest, route: Route) -> Where | None:
        names = [name.lower() for name in route.names]
        group, wanted = route.group, (request.object() or {}).get("deviceGroupName")

        def of_group(entry: Entry) -> bool:
            return group is None or entry.id.partition("/")[0] == group.lower()

        def below(entry: Entry) -> bool:
            return [name.lower() for name in entry.document["names"]][: len(names)] == names

        def named(entry: Entry) -> bool:
            return str(entry.document["names"][2]).lower() == str(wanted).lower()

        if route.words == CATALOG and route.is_list:
            return of_group
        if route.listed == GROUP and route.action and wanted is not None:
            return named
        return below if len(names) > 1 else None

    def _group_of(self, entry: Entry) -> str:
        catalog = self._tree.catalog(entry.id)
        return catalog.group if catalog else ""


def _version(request: SimRequest) -> str:
    return dict(parse_qsl(request.query)).get("api-version", "")
