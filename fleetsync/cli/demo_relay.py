"""Controllers behind a Cloud Relay: a value is written, read back, and the roster goes with the hub."""

from typing import Final

from fleetsync.cli import output
from fleetsync.cli.demo_stage import BUILDINGS, Stage, title

SETPOINT: Final = "protocols/bacnet/local/objects/analog-value/1/properties/present-value"
TARGET: Final = "21.5"

_STATES: Final = (
    "SELECT connection_state, count(*) AS controllers FROM devices WHERE source = 'buildings'"
    " GROUP BY connection_state ORDER BY controllers DESC"
)


async def write(stage: Stage) -> None:
    """Write a value to controllers, and show that they took it."""
    title(
        "7. ECLYPSE controllers behind a Cloud Relay, whose roster is the hub's devices: a setpoint for those in Oslo"
    )
    (done,) = (await stage.cycles((BUILDINGS,), write=True)).values()
    output.table(*stage.answer(_STATES))
    stage.show_plan(done)
    written = stage.column("SELECT resource_id FROM writes WHERE source = 'buildings' AND outcome = 'applied'")
    shown = [stage.cloud.relay.value(id, SETPOINT) for id in written]
    output.line(
        f"   there is no ETag: read, compared, written and read back; {shown.count(TARGET)} controllers show {TARGET}"
    )
    gone = stage.column("SELECT id FROM resources WHERE source = 'buildings' AND gone_at IS NOT NULL")
    output.line(f"   offline is not gone; gone is what the hub does not have any more: {', '.join(gone)}")
