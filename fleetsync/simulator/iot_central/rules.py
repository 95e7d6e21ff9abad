"""What IoT Central asks of the documents that are written: members, ids, references, and guards."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from fleetsync.simulator.counters import Guard
from fleetsync.simulator.iot_central.application import Application
from fleetsync.simulator.paging import PREVIEW, Version
from fleetsync.simulator.resources import Collection, Entry
from fleetsync.simulator.wire import Object, RefusedError

MemberTypes: TypeAlias = Mapping[str, type]

_QUOTED: Final = re.compile(r'\s*"[^"]*"\s*(,\s*"[^"]*"\s*)*')


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one type; members that are not named are taken as they are."""

    type: str
    members: MemberTypes
    required: tuple[str, ...] = ()
    read_only: frozenset[str] = frozenset({"id", "etag"})
    id_pattern: str = ".+"
    sizes: bool = True
    """Whether the preview lets the client choose the page size."""


RULES: Final[Mapping[str, Rules]] = {
    "devices": Rules(
        type="device",
        members={"displayName": str, "template": str, "enabled": bool, "simulated": bool, "organizations": list},
        # Nothing is nullable; a device without a name is named after its id.
        required=("enabled", "simulated"),
        read_only=frozenset({"id", "etag", "provisioned"}),
    ),
    "deviceGroups": Rules(
        type="device-group",
        members={"displayName": str, "filter": str, "description": str, "organizations": list},
        required=("displayName", "filter"),
        id_pattern="[a-zA-Z0-9_-]{1,255}",
    ),
    "deviceTemplates": Rules(
        type="device-template",
        members={"@type": list, "displayName": str, "description": str, "capabilityModel": dict},
        required=("@type", "capabilityModel"),
        read_only=frozenset({"@id", "etag"}),
        id_pattern="(dtmi|urn):.+",
    ),
    "enrollmentGroups": Rules(
        type="enrollment-group",
        members={"displayName": str, "enabled": bool, "type": str, "attestation": dict},
        required=("displayName", "type", "attestation"),
        read_only=frozenset({"id", "etag", "idScope"}),
        id_pattern="[a-zA-Z0-9-]{1,255}",
        sizes=False,
    ),
    "organizations": Rules(
        type="organization",
        members={"displayName": str, "parent": str},
        required=("displayName",),
        id_pattern="(?!-)[a-z0-9-]{1,48}[a-z0-9]",
        sizes=False,
    ),
}


def collection_of(application: Application, rules: Rules) -> Collection:
    """Return where the resources of a type are kept."""
    collections = {
        "device": application.devices,
        "device-group": application.device_groups,
        "device-template": application.device_templates,
        "enrollment-group": application.enrollment_groups,
        "organization": application.organizations,
    }
    return collections[rules.type]


def writable(body: Object, rules: Rules) -> Object:
    """Return a body without the members that only the service sets; they are ignored, not refused."""
    return {name: value for name, value in body.items() if name not in rules.read_only}


def check(document: Object, rules: Rules, application: Application) -> None:
    """Refuse a document that the service would not store.

    Raises:
        RefusedError: 422 for wrong members, 400 for an unknown template.
    """
    missing = [name for name in rules.required if name not in document]
    if missing:
        raise RefusedError(422, "UnprocessableEntity", f"{missing[0]} is required")
    for name, wanted in rules.members.items():
        if name in document and not isinstance(document[name], wanted):
            raise RefusedError(422, "UnprocessableEntity", f"{name} is not of type {wanted.__name__}")
    if rules.type == "device":
        _check_references(document, application)


def _check_references(document: Object, application: Application) -> None:
    template = document.get("template")
    if template is not None and application.device_templates.get(template) is None:
        raise RefusedError(400, "BadRequest", "the device template does not exist")
    organizations = document.get("organizations", [])
    if len(organizations) > 1:
        raise RefusedError(422, "UnprocessableEntity", "a device belongs to one organization at most")
    for organization in organizations:
        if application.organizations.get(str(organization)) is None:
            raise RefusedError(422, "UnprocessableEntity", "the organization does not exist")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A write, as far as its guard is concerned."""

    method: str
    version: Version
    if_match: str | None
    body: Object


def guard_of(attempt: Attempt, collection: Collection, entry: Entry | None) -> Guard:
    """Return how a write of a resource is guarded.

    Only the preview's PATCH knows If-Match; it is ignored elsewhere. In the stable version the etag goes into
    the body. DELETE, the preview's PUT and types without etags have no guard at all.
    """
    etags = collection.etags(entry) if entry else ()
    if attempt.version == PREVIEW and attempt.method == "PATCH" and (etags or attempt.if_match):
        return _if_match(attempt.if_match, etags)
    if attempt.version != PREVIEW and attempt.method != "DELETE" and etags:
        sent = attempt.body.get("etag")
        return Guard(
            form="body-etag",
            sent=None if sent is None else str(sent),
            current=None if sent is None else sent in etags,
        )
    return Guard(form="impossible", sent=attempt.if_match)


def enforce(guard: Guard) -> None:
    """Refuse a write whose guard does not hold.

    Raises:
        RefusedError: 400 for an If-Match that is not quoted, 412 for a stale etag.
    """
    if guard.quoted is False:
        raise RefusedError(400, "BadRequest", "If-Match must hold quoted etags")
    if guard.form != "impossible" and guard.current is False:
        raise RefusedError(412, "PreconditionFailed", "the etag in the request does not match (RFC 7232)")


def _if_match(sent: str | None, etags: tuple[str, ...]) -> Guard:
    if sent is None or sent.strip() == "*":
        return Guard(form="if-match", sent=sent)
    if not _QUOTED.fullmatch(sent):
        return Guard(form="if-match", sent=sent, quoted=False)
    # A template's etag holds its quotes already, the others are wrapped in them.
    accepted = {etag if etag.startswith('"') else f'"{etag}"' for etag in etags}
    current = not accepted.isdisjoint(re.findall(r'"[^"]*"', sent))
    return Guard(form="if-match", sent=sent, quoted=True, current=current)
