"""One [sources.NAME] table as settings."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints

from fleetsync.config.auth import METHODS, NONE, WITHOUT_SCOPE, read_auth
from fleetsync.config.origins import as_authority, as_proxy, as_service, is_loopback
from fleetsync.config.quantities import as_duration, as_percentage, as_rate, as_rewrites
from fleetsync.config.settings import AuthSettings, Limits, Mode, RateSettings, SourceSettings, WeakestGuard
from fleetsync.config.table import Table
from fleetsync.config.values import (
    as_certificates,
    as_choice,
    as_matching,
    as_name,
    as_one_of,
    as_share,
    as_type,
    as_whole,
)
from fleetsync.core.kind import Kind, Quota
from fleetsync.core.model import ResourceType

_AS_MODE = as_choice({mode.value: mode for mode in Mode})
_AS_GUARD = as_choice({guard.value: guard for guard in WeakestGuard})
_AS_SCOPE = as_matching(r"[!-~]+", "a token scope without spaces, like https://example.com/.default")
_RATE = RateSettings()
_LIMITS = Limits()
_NO_AUTH = AuthSettings(method=NONE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _NoOwn:
    """The keys of a kind that has none of its own."""


UNKNOWN_KIND = Kind(
    name="any",
    settings=_NoOwn,
    types=(),
    operations=(),
    quota=lambda _: Quota(classes={}),
    methods=tuple(METHODS),
    interval_s=1.0,
    url="https://kind.invalid",
)
"""Stands in for a kind that nobody knows, so that the rest of its source is checked all the same."""


def read_source(name: str, table: Table, kinds: Mapping[str, Kind], folder: Path) -> SourceSettings:
    """Return the settings of one source, as far as they are clear: what is not is noted.

    Relative paths are relative to `folder`.
    """
    kind = table.require("kind", as_choice(kinds))
    source = _read(name, table, kind or UNKNOWN_KIND, folder)
    if kind is not None:
        table.close()
    return source


def _read(name: str, table: Table, kind: Kind, folder: Path) -> SourceSettings:
    url = table.require("url", as_service) if kind.url is None else table.take("url", as_service, kind.url)
    auth = read_auth(table.table("auth"), kind, folder)
    if auth is not None and auth.method == NONE and url is not None and not is_loopback(url):
        table.refuse("`method` none is for loopback only (127.0.0.0/8, ::1, localhost)", "auth", "method")
    return SourceSettings(
        name=name,
        kind=kind,
        url=url or "",
        auth=auth or _NO_AUTH,
        own=_read_own(table, kind.settings),
        resources=_read_resources(table, kind),
        interval_s=table.take("interval", as_duration, kind.interval_s),
        mode=table.take("mode", _AS_MODE, Mode.OBSERVE),
        weakest_guard=table.take("weakest_guard", _AS_GUARD, WeakestGuard.ETAG),
        rate=_read_rate(table.table("rate"), kind),
        limits=_read_limits(table.table("limits")),
        ca_file=table.take("ca_file", as_certificates(folder), None),
        proxy=table.take("proxy", as_proxy, None),
        authority=table.take("authority", as_authority, None),
        scope=_read_scope(table, kind, auth),
    )


def _read_scope(table: Table, kind: Kind, auth: AuthSettings | None) -> str | None:
    scope = table.take("scope", _AS_SCOPE, None)
    is_needed = auth is not None and auth.method not in WITHOUT_SCOPE and kind is not UNKNOWN_KIND
    if is_needed and kind.scope is None and "scope" not in table:
        table.refuse(
            f"missing key `scope` in {table.title}: every installation of such a service is registered "
            'under an id of its own, so it is like "api://<application id>/.default"'
        )
    return scope


def _read_resources(table: Table, kind: Kind) -> tuple[ResourceType, ...]:
    cheap = tuple(spec.type for spec in kind.types if spec.cheap)
    if not kind.types:
        table.each("resources", as_name)
        return cheap
    return table.each("resources", as_one_of(*kind.specs)) or cheap


def _read_rate(table: Table, kind: Kind) -> RateSettings:
    rates = {name: table.take(name, as_rate, None) for name in kind.operations}
    share = table.take("share", as_share, _RATE.share)
    if "share" in table and not kind.has_documented_quota:
        table.refuse(f"`share` has nothing to share: no quota of {kind.name} is documented; give rates", "share")
    daily = table.take("daily", as_whole(1), None)
    if "daily" in table and kind.daily is None:
        table.refuse(f"`daily` limits nothing: {kind.name} does not count per day", "daily")
    if kind.operations:
        table.close()
    return RateSettings(
        share=share, classes={name: rate for name, rate in rates.items() if rate is not None}, daily=daily
    )


def _read_limits(table: Table) -> Limits:
    limits = Limits(
        max_gone=table.take("max_gone", as_percentage, _LIMITS.max_gone),
        max_writes=table.take("max_writes", as_percentage, _LIMITS.max_writes),
        min_known=table.take("min_known", as_whole(0), _LIMITS.min_known),
        max_rewrites=table.take("max_rewrites", as_rewrites, _LIMITS.max_rewrites),
    )
    table.close()
    return limits


def _read_own(table: Table, settings: type) -> object | None:
    """Return an instance of the kind's own settings; None where a key is missing or wrong."""
    types = get_type_hints(settings, include_extras=True)
    values: dict[str, object] = {}
    for field in dataclasses.fields(settings):
        is_required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        reader = as_type(types[field.name])
        if is_required or field.name in table:
            values[field.name] = table.require(field.name, reader)
        else:
            table.take(field.name, reader, None)
    if any(value is None for value in values.values()):
        return None
    try:
        own: object = settings(**values)
    except ValueError as error:  # what the kind itself checks, over several keys
        table.refuse(str(error))
        return None
    return own
