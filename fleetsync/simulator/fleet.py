"""An invented fleet: the same seed gives the same devices, names, templates and organizations."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from fleetsync.simulator.wire import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A make of device: the word in its id, and its template."""

    word: str
    template: str
    words: tuple[str, ...]
    """What people call it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place with devices, which is also an organization."""

    organization: str
    parent: str
    name: str


MODELS = (
    Model(word="thermostat", template="dtmi:contoso:thermostat;2", words=("Thermostat", "Termostat", "温度計")),
    Model(word="pump", template="dtmi:contoso:pump;1", words=("Pump", "Wärmepumpe", "Pompe à chaleur")),
    Model(word="meter", template="dtmi:contoso:meter;1", words=("Meter", "Strømmåler", "Счётчик")),
    Model(word="gateway", template="dtmi:contoso:gateway;3", words=("Gateway", "Zentrale", "ゲートウェイ")),
)
SITES = (
    Site(organization="oslo", parent="nordics", name="Oslo"),
    Site(organization="tromso", parent="nordics", name="Tromsø"),
    Site(organization="zurich", parent="europe", name="Zürich"),
    Site(organization="lyon", parent="europe", name="Lyon"),
    Site(organization="osaka", parent="asia", name="大阪"),
    Site(organization="seattle", parent="americas", name="Seattle 🌧"),
)
REGIONS = {"nordics": "Nordics", "europe": "Europe", "asia": "Asia", "americas": "Americas"}

ODD_IDS = (
    "00:1B:44:11:3A:B7",
    "50%25-sensor",
    "boiler.cellar.2",
    "it's-(the)=one@home",
    "lab sensor 4",
    "probe#7+a",
    "UPPER_lower-01",
    "which?one!",
)
"""Legal ids that a careless client puts into a URL wrongly; a fleet of fifty or more devices holds them."""


def devices(random: Random, count: int) -> Iterator[tuple[str, Object]]:
    """Yield so many devices: id and document."""
    odd = ODD_IDS if count >= 50 else ()
    for number in range(count):
        model, site = random.choice(MODELS), random.choice(SITES)
        id_ = odd[number] if number < len(odd) else f"{model.word}-{site.organization}-{number:05}"
        yield id_, device(random, model=model, site=site, number=number)


def device(random: Random, *, model: Model, site: Site, number: int) -> Object:
    """Return the document of one device; optional members are absent now and then, as in the service."""
    luck = random.random()
    document: Object = {
        "displayName": f"{model.words[number % len(model.words)]} {number}, {site.name}",
        "template": model.template,
        "simulated": False,
        "provisioned": luck > 0.05,
        "enabled": luck < 0.97,
        "organizations": [site.organization],
    }
    if 0.10 < luck < 0.12:
        del document["template"]
    if 0.20 < luck < 0.30:
        del document["organizations"]
    return document


def organizations() -> Iterator[tuple[str, Object]]:
    """Yield the tree of organizations."""
    yield "contoso", {"displayName": "Contoso"}
    for id_, name in REGIONS.items():
        yield id_, {"displayName": name, "parent": "contoso"}
    for site in SITES:
        yield site.organization, {"displayName": site.name, "parent": site.parent}


def device_groups() -> Iterator[tuple[str, Object]]:
    """Yield a group for every model, and one for each site that asked for it."""
    for model in MODELS:
        yield (
            f"all-{model.word}s",
            {
                "displayName": f"All {model.word}s",
                "description": f"Every {model.word}, wherever it is.",
                "filter": _query(model),
            },
        )
    yield (
        "oslo-thermostats",
        {
            "displayName": "Oslo thermostats",
            "filter": f"{_query(MODELS[0])} AND $provisioned = true",
            "organizations": ["oslo"],
        },
    )


def _query(model: Model) -> str:
    return f'SELECT * FROM devices WHERE $template = "{model.template}"'  # noqa: S608  # not SQL, and ours


def enrollment_groups(random: Random) -> Iterator[tuple[str, Object]]:
    """Yield enrollment groups with their keys, which are secrets that a mirror must not keep."""
    for name in ("factory-2024", "factory-2025", "edge"):
        keys = {f"{which}Key": symmetric_key(random) for which in ("primary", "secondary")}
        yield (
            name,
            {
                "displayName": name.replace("-", " ").capitalize(),
                "enabled": name != "factory-2024",
                "type": "iotEdge" if name == "edge" else "iot",
                "attestation": {"type": "symmetricKey", "symmetricKey": keys},
            },
        )


def symmetric_key(random: Random) -> str:
    """Return a new key in base64."""
    return base64.b64encode(random.randbytes(32)).decode()


def device_templates() -> Iterator[tuple[str, Object]]:
    """Yield a template for every model."""
    for model in MODELS:
        yield model.template, _template(model)


def _template(model: Model) -> Object:
    name, version = model.template.split(";")
    return {
        "@type": ["ModelDefinition", "DeviceModel"],
        "displayName": model.word.capitalize(),
        "capabilityModel": {
            "@id": f"{name}:model;{version}",
            "@type": "Interface",
            "displayName": model.word.capitalize(),
            "contents": [
                _property("swVersion", "string"),
                _property("telemetryInterval", "integer", writable=True),
                _property("targetTemperature", "double", writable=True),
                _property("serviceContact", "string", cloud=True),
                {"@type": ["Telemetry", "Temperature"], "name": "temperature", "schema": "double"},
                {
                    "@type": "Component",
                    "name": "settings",
                    "schema": {
                        "@id": f"{name}:settings;{version}",
                        "@type": "Interface",
                        "contents": [
                            _property("fanSpeed", "double", writable=True),
                            _property("irSwitch", "boolean", writable=True),
                            _property("model", "string"),
                        ],
                    },
                },
            ],
        },
    }


def _property(name: str, schema: str, *, writable: bool = False, cloud: bool = False) -> Object:
    return {
        "@type": ["Property", "Cloud"] if cloud else "Property",
        "name": name,
        "displayName": name,
        "schema": schema,
        **({"writable": True} if writable else {}),
    }
