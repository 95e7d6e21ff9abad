"""What a request to IoT Central names: the resource, the API version, the page size, the document."""

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote

from fleetsync.simulator.iot_central.rules import RULES, Attempt, Rules
from fleetsync.simulator.listing import Where
from fleetsync.simulator.paging import PREVIEW, STABLE, Version
from fleetsync.simulator.wire import Kind, Object, RefusedError, SimRequest

_PAGE_SIZE: Final = 25
_LARGEST_PAGE: Final = 100

Aspect: TypeAlias = Literal["list", "item", "properties", "members", "credentials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a path names."""

    rules: Rules
    aspect: Aspect
    id: str = ""
    component: str | None = None

    @property
    def type(self) -> str:
        """Return the name under which the books count it."""
        match self.aspect:
            case "properties" | "credentials":
                return f"device-{self.aspect}"
            case "members":
                return "device"
            case _:
                return self.rules.type


def route_of(path: str) -> Route:
    """Return what a raw path names; each segment is decoded exactly once.

    Raises:
        RefusedError: 404, there is nothing of the kind.
    """
    segments = [unquote(segment) for segment in path.removeprefix("/api/").split("/")]
    rules = RULES.get(segments[0]) if path.startswith("/api/") else None
    if rules is None or "" in segments:
        raise RefusedError(404, "NotFound", "there is no such resource")
    match segments[0], segments[1:]:
        case _, []:
            return Route(rules=rules, aspect="list")
        case _, [id_]:
            return Route(rules=rules, aspect="item", id=id_)
        case "devices", [id_, "properties"]:
            return Route(rules=rules, aspect="properties", id=id_)
        case "devices", [id_, "components", component, "properties"]:
            return Route(rules=rules, aspect="properties", id=id_, component=component)
        case "devices", [id_, "credentials"]:
            return Route(rules=rules, aspect="credentials", id=id_)
        case "deviceGroups", [id_, "devices"]:
            return Route(rules=rules, aspect="members", id=id_)
        case _:
            raise RefusedError(404, "NotFound", "there is no such resource")


def kind_of(method: str, route: Route) -> Kind:
    """Return what a request does."""
    if method not in ("GET", "HEAD"):
        return "write"
    return "list" if route.aspect in ("list", "members") else "read"


def version_of(query: str) -> Version:
    """Return the API version that a query asks for.

    Raises:
        RefusedError: 400, it is missing, named twice, or unknown.
    """
    found = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "api-version"]
    if found == [PREVIEW]:
        return PREVIEW
    if found == [STABLE]:
        return STABLE
    raise RefusedError(400, "InvalidApiVersion", "api-version is missing or unknown")


def page_size(query: str, version: Version, rules: Rules) -> int:
    """Return the page size; the stable version knows none and takes no notice."""
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if version == STABLE or not rules.sizes:
        return _PAGE_SIZE
    for name in ("filter", "orderby"):
        if name in asked:
            raise RefusedError(400, "NotSimulated", f"{name} is not simulated")
    text = asked.get("maxpagesize", str(_PAGE_SIZE))
    if not text.isdecimal() or not 1 <= int(text) <= _LARGEST_PAGE:
        raise RefusedError(400, "BadRequest", f"maxpagesize is not from 1 to {_LARGEST_PAGE}")
    return int(text)


def attempt_of(request: SimRequest, body: Object) -> Attempt:
    """Return what matters of a write for its guard."""
    try:
        version = version_of(request.query)
    except RefusedError:
        # It is refused when it is carried out; until then any version will do.
        version = PREVIEW
    return Attempt(method=request.method, version=version, if_match=request.header("If-Match"), body=body)


def body_of(request: SimRequest) -> Object:
    """Return the JSON object that a write carries.

    Raises:
        RefusedError: 400 for another media type or no JSON, 422 for JSON that is no object.
    """
    media_type = (request.header("Content-Type") or "").partition(";")[0].strip().lower()
    allowed = {"application/json"} | ({"application/merge-patch+json"} if request.method == "PATCH" else set())
    if media_type not in allowed:
        raise RefusedError(400, "BadRequest", f'content type "{media_type}" is not understood')
    body = request.object()
    if body is not None:
        return body
    if request.body.strip()[:1] in (b"[", b'"'):
        raise RefusedError(422, "UnprocessableEntity", "the body is not a JSON object")
    raise RefusedError(400, "BadRequest", "the body is not JSON")


def membership(query: str) -> Where:
    """Return who belongs to a group; of its query language comparisons joined with AND are understood."""
    pairs = re.findall(r'\$(\w+)\s*=\s*("[^"]*"|true|false)', query)
    wanted = {name: text.strip('"') if text.startswith('"') else text == "true" for name, text in pairs}
    return lambda entry: all(entry.document.get(name) == value for name, value in wanted.items())
