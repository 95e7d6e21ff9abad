"""Azure IoT Central, data plane, API versions 2022-07-31 and 2022-10-31-preview.

Facts (Azure/azure-rest-api-specs, specification/iotcentral/data-plane, and learn.microsoft.com, read 2026-11):
PUT is an upsert and answers 200; property writes answer 202 and the device comes round later; the etag
is a member of the body; If-Match exists for the preview's PATCH only; 20 requests a second for all
clients together, refused with 429 and without Retry-After.

Where the documents are silent the service here takes the stricter way: an If-Match without quotes is refused
with 400, a stale etag in a stable version's body with 412, a link with changed bytes with 400.
`filter` and `orderby` are refused rather than ignored; `expand` is ignored. Not simulated: jobs,
attestations, certificates, relationships, modules, commands.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from random import Random
from typing import Final
from urllib.parse import parse_qsl
from uuid import UUID

from fleetsync.simulator import fleet
from fleetsync.simulator.counters import Call
from fleetsync.simulator.desk import Carried, Desk
from fleetsync.simulator.faults import Drawn
from fleetsync.simulator.iot_central.application import Application
from fleetsync.simulator.iot_central.properties import accepted, values_of
from fleetsync.simulator.iot_central.routes import (
    Route,
    attempt_of,
    body_of,
    kind_of,
    membership,
    page_size,
    route_of,
    version_of,
)
from fleetsync.simulator.iot_central.rules import check, collection_of, enforce, guard_of, writable
from fleetsync.simulator.life import Life
from fleetsync.simulator.listing import Slice, Where, cut
from fleetsync.simulator.paging import PREVIEW, ChangedLinkError, Links, Position, Version, is_continuation
from fleetsync.simulator.resources import Collection, Entry, is_same, leaves, patched
from fleetsync.simulator.wire import (
    Object,
    RefusedError,
    SimRequest,
    SimResponse,
    encoded,
    json_answer,
    json_bytes,
)

RESOURCE: Final = "https://apps.azureiotcentral.com"
"""What a bearer token has to be for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doorman:
    """Who may come in: the holder of the API token or of a bearer token, on plain HTTP anybody without either."""

    api_token: str
    bearer: Callable[[str, str], bool]
    anonymous: bool

    def admit(self, authorization: str | None) -> None:
        """Raise RefusedError for want of a good token."""
        if authorization is None and self.anonymous:
            return
        scheme, _, token = (authorization or "").partition(" ")
        if authorization == self.api_token or (scheme == "Bearer" and self.bearer(token, RESOURCE)):
            return
        raise RefusedError(401, "Unauthorized", "the token is missing, unknown or expired")


class IotCentral:
    """One IoT Central application behind its desk."""

    def __init__(
        self, application: Application, desk: Desk, life: Life, doorman: Doorman, *, seed: int, origin: str
    ) -> None:
        self.application = application
        self.origin = origin
        self._desk = desk
        self._life = life
        self._doorman = doorman
        self._random = Random(f"{seed}:central")
        self._links = Links(self._random.randbytes(16))
        self._listings = 0
        self._dead: set[str] = set()

    def handle(self, request: SimRequest) -> SimResponse:
        """Answer a request as the service would, now."""
        self._life.advance(self._desk.now())
        return self._desk.serve(request, self)

    def recognise(self, request: SimRequest) -> Call:
        """Say what a request is about, without doing or refusing anything."""
        try:
            route = route_of(request.path)
        except RefusedError:
            return Call(kind="read", type="unknown")
        kind = kind_of(request.method, route)
        if kind != "write":
            return Call(kind=kind, type=route.type, id=route.id)
        body = request.object() or {}
        guard = None
        if route.aspect == "item":
            collection = collection_of(self.application, route.rules)
            guard = guard_of(attempt_of(request, body), collection, collection.get(route.id))
        return Call(kind=kind, type=route.type, id=route.id, guard=guard, members=tuple(leaves(body)))

    def admit(self, request: SimRequest) -> None:
        """Let the request pass, or raise RefusedError for want of a good token."""
        self._doorman.admit(request.header("Authorization"))

    def carry_out(self, request: SimRequest, call: Call, faults: Drawn) -> Carried:
        """Do it and answer, or raise RefusedError."""
        route, version = route_of(request.path), version_of(request.query)
        match request.method, route.aspect:
            case "GET", "list" | "members":
                return Carried(answer=self._list(request, route, version, faults))
            case "GET", _:
                return Carried(answer=self._read(route))
            case "PUT" | "PATCH", "properties":
                return self._write_properties(request, route, version)
            case "PUT" | "PATCH", "item":
                return self._write(request, route, call)
            case "DELETE", "item":
                return self._delete(route)
            case _:
                raise RefusedError(405, "MethodNotAllowed", f"{request.method} is not possible here")

    def refuse(self, status: int, code: str, message: str) -> SimResponse:
        """Return the service's error body; its header repeats the code."""
        request_id = str(UUID(int=self._random.getrandbits(128), version=4))
        error = {
            "code": code,
            "message": message,
            "requestId": request_id,
            "time": formatdate(self._desk.now(), usegmt=True),
        }
        headers = {"x-ms-error-code": code, "x-ms-request-id": request_id}
        return json_answer({"error": error}, status=status, headers=headers)

    def _list(self, request: SimRequest, route: Route, version: Version, faults: Drawn) -> SimResponse:
        position = self._position(request, route, version, faults)
        collection, where = self._source(route)
        page = cut(collection, position, faults, where=where)
        link = self._link(request, version, page, faults)
        text = self._entry_text(collection, route)
        parts = [] if "no-value" in faults else [b'"value":[' + b",".join(map(text, page.entries)) + b"]"]
        if link is not None or "null-link" in faults:
            parts.append(b'"nextLink":' + encoded(link))
        return json_bytes(b"{" + b",".join(parts) + b"}")

    def _position(self, request: SimRequest, route: Route, version: Version, faults: Drawn) -> Position:
        if not is_continuation(request.query):
            self._listings += 1
            size = page_size(request.query, version, route.rules)
            return Position(listing=self._listings, path=request.path, after="", size=size)
        if "dead-cursor" in faults:
            self._dead.add(request.query)
        try:
            position = self._links.position(version, request.path, request.query)
        except ChangedLinkError:
            raise RefusedError(
                400, "InvalidContinuation", "the link was changed on its way; send it byte for byte"
            ) from None
        if request.query in self._dead:
            raise RefusedError(400, "InvalidContinuation", "the continuation token is no longer valid")
        return position

    def _source(self, route: Route) -> tuple[Collection, Where | None]:
        if route.aspect == "list":
            return collection_of(self.application, route.rules), None
        return self.application.devices, membership(str(self._found(route).document.get("filter")))

    def _entry_text(self, collection: Collection, route: Route) -> Callable[[Entry], bytes]:
        if route.aspect == "list":
            return collection.text
        # The members of a group come without etags.
        return lambda entry: encoded({"id": entry.id, **entry.document})

    def _link(self, request: SimRequest, version: Version, page: Slice, faults: Drawn) -> str | None:
        if page.next is None:
            return None
        host = request.header("Host")
        origin = f"{self.origin.partition('://')[0]}://{host}" if host else self.origin
        origin = faults.get("foreign-link", origin).rstrip("/")
        return f"{origin}{request.path}?{self._links.query(version, page.next)}"

    def _found(self, route: Route) -> Entry:
        entry = collection_of(self.application, route.rules).get(route.id)
        if entry is None:
            raise RefusedError(404, "NotFound", f"the {route.rules.type} does not exist")
        return entry

    def _read(self, route: Route) -> SimResponse:
        entry = self._found(route)
        match route.aspect:
            case "properties":
                return json_answer(self.application.twin(entry).document(route.component))
            case "credentials":
                random = Random(f"credentials:{entry.id}")
                keys = {f"{which}Key": fleet.symmetric_key(random) for which in ("primary", "secondary")}
                return json_answer({"idScope": "0ne00FLEET", "symmetricKey": keys})
            case _:
                return json_bytes(collection_of(self.application, route.rules).text(entry))

    def _write(self, request: SimRequest, route: Route, call: Call) -> Carried:
        body = body_of(request)
        collection = collection_of(self.application, route.rules)
        before = collection.get(route.id)
        if request.method == "PATCH":
            before = self._found(route)
        elif not re.fullmatch(route.rules.id_pattern, route.id):
            raise RefusedError(400, "BadRequest", f"the id of the {route.rules.type} is not allowed")
        if call.guard is not None:
            enforce(call.guard)
        document = self._document(request.method, route, before, body)
        check(document, route.rules, self.application)
        entry = collection.put(route.id, document, at=self._desk.now())
        changed = before is None or not is_same(before.document, document)
        answer = encoded(collection.document(entry, long_etag=request.method == "PUT"))
        return Carried(answer=json_bytes(answer), changed=changed)

    def _document(self, method: str, route: Route, before: Entry | None, body: Object) -> Object:
        """Return what is stored: the patched document, or the new one with what the service adds."""
        base = before.document if before is not None and method == "PATCH" else _beginning(route, before)
        document = patched(base, writable(body, route.rules))
        if route.rules.type == "device":
            document.setdefault("displayName", route.id)
        if route.rules.type == "enrollment-group":
            self._add_keys(document)
        return document

    def _add_keys(self, document: Object) -> None:
        document.setdefault("enabled", True)
        attestation = document.get("attestation")
        if isinstance(attestation, dict) and attestation.get("type") == "symmetricKey":
            keys = {f"{which}Key": fleet.symmetric_key(self._random) for which in ("primary", "secondary")}
            document["attestation"] = {"symmetricKey": keys, **attestation}

    def _delete(self, route: Route) -> Carried:
        self._found(route)
        if route.rules.type == "device":
            self.application.delete_device(route.id)
        else:
            collection_of(self.application, route.rules).remove(route.id)
        return Carried(answer=SimResponse(status=204), changed=True)

    def _write_properties(self, request: SimRequest, route: Route, version: Version) -> Carried:
        entry, body = self._found(route), body_of(request)
        twin = self.application.twin(entry)
        unmodeled = version == PREVIEW and dict(parse_qsl(request.query)).get("unmodeled") == "true"
        values = values_of(body, twin.model, component=route.component, unmodeled=unmodeled)
        dropped = twin.desired_paths(route.component) - values.keys() if request.method == "PUT" else set()
        before = twin.wanted()
        self.application.desire(entry, {**dict.fromkeys(dropped), **values}, at=self._desk.now())
        answer = json_answer(accepted(values, route.component), status=202)
        return Carried(answer=answer, changed=not is_same(before, twin.wanted()))


def _beginning(route: Route, before: Entry | None) -> Object:
    """Return what the service adds to a document that is put; only it knows whether a device was provisioned."""
    if route.rules.type != "device":
        return {}
    provisioned = before is not None and bool(before.document.get("provisioned"))
    return {"displayName": route.id, "simulated": False, "provisioned": provisioned, "enabled": True}
