"""What the demo shows, scene by scene."""

from collections.abc import Collection
from typing import Final

from msgspec import Struct

from fleetsync.cli import demo_guarded, demo_relay, demo_sphere, output
from fleetsync.cli.demo_stage import BUILDINGS, Stage, title

EVERYWHERE: Final = """\
SELECT kind, source, count(*) FILTER (WHERE gone_at IS NULL) AS there,
       count(*) FILTER (WHERE first_seen_at > ago('7 days')) AS came,
       count(*) FILTER (WHERE gone_at > ago('7 days')) AS went,
       count(*) FILTER (WHERE (source, type, id) IN (SELECT source, type, resource_id FROM drift)) AS drifting
  FROM resources GROUP BY kind, source ORDER BY kind, source;
"""
"""It stands in the README, word for word."""

_QUESTIONS: Final = (
    (
        "how many devices",
        "SELECT source, kind, count(*) AS devices, sum(size_bytes) / 1024 AS kib FROM devices GROUP BY source, kind",
    ),
    (
        "canaries by their tags",
        "SELECT tags ->> 'site' AS site, count(*) AS canaries FROM devices"
        " WHERE tags ->> 'ring' = 'canary' GROUP BY tags ->> 'site' ORDER BY canaries DESC LIMIT 3",
    ),
    (
        "does the hub count as many devices as are here",
        "SELECT hubs.display_name AS hub, hubs.devices AS counted, count(*) AS mirrored FROM hubs"
        " JOIN devices ON devices.kind = 'iot-hub' WHERE hubs.devices > 0 GROUP BY hubs.display_name, hubs.devices",
    ),
)


class Touched(Struct, frozen=True, kw_only=True):
    """Devices of the hub that something happened to."""

    declared: str
    replaced: str


async def show(stage: Stage) -> Touched:
    """Show all of it, in order."""
    await _list(stage)
    _ask(stage)
    await demo_guarded.plan_and_apply(stage)
    declared = await demo_guarded.heal(stage)
    replaced = await demo_guarded.bury(stage)
    await demo_sphere.move(stage)
    await demo_relay.write(stage)
    demo_sphere.compare(stage)
    title("9. One question over all of it")
    stage.ask("what is there, what came and went, what is not as declared", EVERYWHERE)
    _count(stage)
    return Touched(declared=declared, replaced=replaced)


async def _list(stage: Stage) -> None:
    title("1. List everything of six services, each at its own rate, into one mirror")
    await _list_these(stage, stage.parts.keys() - {BUILDINGS})
    # The relay has no list: its devices are those that the mirror has of the hub.
    await _list_these(stage, {BUILDINGS})


async def _list_these(stage: Stage, sources: Collection[str]) -> None:
    finished = await stage.cycles(sources, write=False)
    for source in (name for name in stage.parts if name in finished):
        counts = finished[source].counts
        kind = stage.parts[source].settings.kind.name
        output.line(f"   {source} ({kind}): {counts.listed} resources, {counts.requests} requests")


def _ask(stage: Stage) -> None:
    title("2. Ask the mirror: any SQL tool can, this is `fleetsync query`")
    for question, sql in _QUESTIONS:
        stage.ask(question, sql)


def _count(stage: Stage) -> None:
    title("What the services say of it")
    counters = stage.cloud.counters
    services: dict[str, list[str]] = {}
    for name in counters.limits:
        services.setdefault(name.partition(".")[0], []).append(name)
    rows = []
    for service, names in services.items():
        limits = [counters.limits[name] for name in names]
        requests = sum(limit.requests for limit in limits)
        if requests:
            over = max(limit.over_rate for limit in limits)
            late = sum(limit.delayed for limit in limits)
            rows.append((service, requests, over, late, sum(limit.refused for limit in limits)))
    output.table(("service", "requests", "over the rate", "served late", "answers of 429"), rows)
    output.line(
        f"   {counters.writes_applied} writes carried out; If-Match missing where the service has one:"
        f" {counters.if_match_missing}, unquoted: {counters.if_match_unquoted}, *: {counters.if_match_star}"
    )
