"""What the README says that a shared access policy needs: enough, and not too much."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fleetsync.core.declaration import ABSENT
from fleetsync.core.model import DEVICE, Part, ResourceKey, ResourceType
from fleetsync.core.plan import Change, Leaf
from fleetsync.errors import AuthError
from fleetsync.providers.base import Endpoint
from fleetsync.providers.iot_hub import CONFIGURATION, DOCUMENT, IDENTITY, KIND, TWIN, IotHub, Settings
from fleetsync.simulator import Cloud, Options
from fleetsync.simulator.iot_hub.auth import BUILT_IN, Policy, Right
from fleetsync.transport.auth import Authorized
from fleetsync.transport.origin import Origin
from fleetsync.transport.sas import SharedAccessKey
from fleetsync.transport.secret import SecretText
from tests.fakes.clock import FakeClock
from tests.fakes.http import CloudHttp
from tests.fakes.known import KnownDocuments

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
RIGHTS = {
    "RegistryRead": Right.REGISTRY_READ,
    "RegistryWrite": Right.REGISTRY_WRITE,
    "ServiceConnect": Right.SERVICE_CONNECT,
}
ROWS = re.findall(r"^\| (.+) \| ((?:Registry|Service).+) \| IoT Hub Data \w+ \|$", README, re.MULTILINE)


def provided(rights: Right) -> IotHub:
    """Return a source that signs in with a policy of these rights."""
    clock = FakeClock()
    options = Options(listen="127.0.0.1:8080", kinds=("iot-hub",), hub_devices=12, hub_tier="none", latency_s=0.0)
    cloud = Cloud(options, now=lambda: clock.now().timestamp())
    doorman = cloud.hub.doorman
    doorman.anonymous = False
    doorman.policies["fleetsync"] = Policy(name="fleetsync", rights=rights, key=doorman.policies["iothubowner"].key)
    secret = SecretText(place="file 'hub'", read=lambda: doorman.connection_string("fleetsync"))
    tokens = SharedAccessKey(secret, Origin.of(cloud.hub_url), clock)
    http = Authorized(CloudHttp(cloud, clock), tokens)
    known = KnownDocuments()
    return IotHub(Endpoint(name="hub", url=cloud.hub_url, http=http, known=known, clock=clock, settings=Settings()))


async def first(source: IotHub, type: ResourceType) -> ResourceKey:
    return ResourceKey("hub", type, (await source.page(type, None)).resources[0].id)


async def mirror(source: IotHub) -> None:
    await source.count(DEVICE)
    for spec in KIND.types:
        await source.read(await first(source, spec.type))


async def write(source: IotHub, type: ResourceType, part: Part, **values: object) -> None:
    key = await first(source, type)
    guard = source.guard(part, await source.read(key))
    assert guard is not None
    leaves = (
        Leaf(path=tuple(path.split("__")), actual=ABSENT, declared=value, declarations=("d",))
        for path, value in values.items()
    )
    await source.patch(Change(key=key, part=part, guard=guard, leaves=tuple(leaves)))


async def write_twin(source: IotHub) -> None:
    await write(source, DEVICE, TWIN, tags__ring="x", properties__desired__x=1)


async def write_identity_and_configuration(source: IotHub) -> None:
    await write(source, DEVICE, IDENTITY, status="disabled", statusReason="lost")
    await write(source, CONFIGURATION, DOCUMENT, priority=7)


WORK: dict[str, Callable[[IotHub], Awaitable[None]]] = {
    "mirror": mirror,
    "write tags and desired properties": write_twin,
    "write `status`, `statusReason` and configurations": write_identity_and_configuration,
}


async def work(source: IotHub, *, up_to: str) -> None:
    """Do what a row of the README is about, and what the rows above it are about."""
    for what, does in WORK.items():
        await does(source)
        if what == up_to:
            return


def rights_of(words: str) -> list[Right]:
    return [RIGHTS[word] for word in words.split(", ")]


def together(rights: list[Right]) -> Right:
    found = Right(0)
    for right in rights:
        found |= right
    return found


def test_the_readme_says_what_all_work_needs() -> None:
    assert [what for what, _ in ROWS] == list(WORK)


@pytest.mark.parametrize(("what", "words"), ROWS)
async def test_the_rights_of_the_readme_are_enough(what: str, words: str) -> None:
    await work(provided(together(rights_of(words))), up_to=what)


@pytest.mark.parametrize(("what", "words"), ROWS)
async def test_none_of_the_rights_of_the_readme_can_be_left_out(what: str, words: str) -> None:
    for left_out in rights_of(words):
        source = provided(together([right for right in rights_of(words) if right is not left_out]))
        with pytest.raises(AuthError):
            await work(source, up_to=what)


def test_of_the_built_in_policies_only_the_owner_can_mirror() -> None:
    needed = together(rights_of(dict(ROWS)["mirror"]))
    assert [name for name, rights in BUILT_IN.items() if needed in rights] == ["iothubowner"]
