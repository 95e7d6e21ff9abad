"""The files of the demo: what a user would write."""

from pathlib import Path
from typing import Final

from fleetsync.cli.demo_relay import SETPOINT, TARGET
from fleetsync.cli.demo_stage import BUILDINGS, CATALOG, CENTRAL, HUB, TENANT
from fleetsync.clock import Clock
from fleetsync.simulator import Cloud
from fleetsync.wiring.configuration import Configuration, read_configuration

_WRITABLE = """\
mode = "manual"                 # `fleetsync apply` may write, the daemon may not
"""
_BY_READING = f"""\
{_WRITABLE}\
weakest_guard = "reread"        # where there is no ETag: read, compare, write, read back
"""
_SETTINGS: Final = {
    CENTRAL: f"{_BY_READING}rate = {{ share = 1.0 }}          # the built-in cloud has no other clients\n",
    HUB: _WRITABLE,
    TENANT: f'{_BY_READING}rate = {{ read = "5/s", write = "5/s" }}\n',
    CATALOG: _BY_READING,
    BUILDINGS: f'{_BY_READING}paths = ["info/device"]\n',
}
"""What is put into the table of a source, above its sign-in."""

_DECLARATIONS: Final = """\
# What the devices should look like. Each declaration selects devices in SQL and says what they should have.

[[declaration]]
name = "tromso-belongs-to-europe"
sources = ["central"]
where = "id LIKE '%-tromso-000%' AND enabled"

[declaration.desired]
organizations = ["europe"]

[[declaration]]
name = "two-thermostats-at-21"
sources = ["central"]
where = "id IN ({thermostats})"

[declaration.desired]
properties.targetTemperature = 21

[[declaration]]
name = "oslo-reports-every-minute"
sources = ["hub"]
where = "tags ->> 'site' = 'oslo' AND enabled"

[declaration.desired]
tags.reporting = "every minute"
properties.desired.telemetry.intervalS = 60

[[declaration]]
name = "to-the-new-prototypes"
sources = ["catalog"]
where = "id IN ({integrated})"

[declaration.desired]
group = "Prototypes/P1"         # a product and a device group of the catalog

[[declaration]]
name = "to-the-old-prototypes"
sources = ["tenant"]
where = "id IN ({waiting})"

[declaration.desired]
group = "{prototypes}"

[[declaration]]
name = "oslo-is-warm-enough"
sources = ["buildings"]
where = "id LIKE '%-oslo-%' AND connection_state = 'online'"

[declaration.desired]
"{setpoint}".value = "{target}"
"""
_MOVED = 4


def configure(folder: Path, cloud: Cloud, clock: Clock) -> Configuration:
    """Write the configuration and the declarations, and read them as `fleetsync check` would."""
    text = cloud.configuration()
    for source, lines in _SETTINGS.items():
        text = text.replace(f"\n[sources.{source}.auth]", f"{lines}\n[sources.{source}.auth]")
    (folder / "config.toml").write_text(text, encoding="utf-8")
    (folder / "declarations").mkdir()
    (folder / "declarations" / "demo.toml").write_text(_declarations(cloud), encoding="utf-8")
    return read_configuration(folder / "config.toml", clock)


def _declarations(cloud: Cloud) -> str:
    thermostats = [device["id"] for device in cloud.truth() if str(device["id"]).startswith("thermostat-oslo-")]
    new = [device["id"] for device in cloud.arm.truth() if device["product"] == "ColdChain"]
    old = {str(device["DeviceId"]).lower() for device in cloud.sphere.truth()} - {
        one["id"] for one in cloud.arm.truth()
    }
    return _DECLARATIONS.format(
        thermostats=_quoted(sorted(thermostats)[:2]),
        integrated=_quoted(new[:_MOVED]),
        waiting=_quoted(sorted(old)[: _MOVED // 2]),
        prototypes=cloud.sphere.tenant.group_named("Prototypes", "P1").id,
        setpoint=SETPOINT,
        target=TARGET,
    )


def _quoted(ids: list[str]) -> str:
    return ", ".join(f"'{id}'" for id in ids)
