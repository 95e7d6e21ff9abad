"""An Azure Sphere tenant at the legacy service as a place: writes that go on after their answer."""

from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, ClassVar
from urllib.parse import unquote

from fleetsync.simulator import Cloud, Options, SimRequest, SimResponse
from fleetsync.simulator.desk import Desk
from fleetsync.simulator.sphere_legacy.shapes import device_document, group_document, product_document
from tests.simulation.place import Asked, Documents, Key, Place, Shown, Wish, decoded, without

_TYPES = {"products": "product", "devicegroups": "device-group", "devices": "device"}


class Sphere(Place):
    """A tenant: products, groups, and devices that are moved from group to group."""

    kind = "sphere-legacy"
    operations: ClassVar[Mapping[str, float]] = {"read": 5.0, "write": 3.0}
    takes_odd_texts = False
    has_etags = False
    has_operations = True
    unknown_word = (b'"OsFeedType":0', b'"OsFeedType":7')
    new_type = (b'"ChipSku":0', b'"ChipSku":"zero"')
    begins_only = frozenset({"device"})
    listed = ("product", "device-group", "device")

    def make_cloud(self, now: Callable[[], float]) -> Cloud:
        random = self.random
        options = Options(
            listen="127.0.0.1:1",
            sphere_listen=f"127.0.0.1:{self.port}",
            kinds=(self.kind,),
            sphere_devices=self.fleet_size(),
            sphere_page_size=3 if self.is_small else random.choice((2, 3, 5, 100)),
            sphere_rate=random.choice(("none", "5/s burst 20")),
            sphere_operation_s=random.choice((1.0, 6.0, 90.0)),
            sphere_fail_share=0.0 if self.is_small else 0.1,
            sphere_errors_share=0.0 if self.is_small else 0.1,
            seed=random.randrange(1 << 30),
            latency_s=0.0,
        )
        cloud = Cloud(options, now=now)
        self.groups = sorted(cloud.sphere.tenant.groups)
        self.removed: list[str] = []
        self.harmless = f'group = "{self.groups[1]}"'
        self.contradicting = f'group = "{self.groups[2]}"'
        return cloud

    def answer(self, request: SimRequest) -> SimResponse:
        return self.cloud.handle_sphere(request)

    def desks(self) -> Iterable[Desk]:
        return (self.cloud.sphere._desk,)

    def go_on_for(self, seconds: float, *, kept_s: float = 86_400.0) -> None:
        operations = self.cloud.sphere.operations
        operations.lasts_s, operations.kept_s = seconds, kept_s

    def end_operations(self, *, failed: float = 0.0, errors: float = 0.0) -> None:
        operations = self.cloud.sphere.operations
        operations.fail_share, operations.errors_share = failed, errors

    def truth(self) -> Documents:
        sphere = self.cloud.sphere
        sphere._settle()
        tenant = sphere.tenant
        found: Documents = {("device", one.id): device_document(tenant, one) for one in tenant}
        found |= {("device-group", one.id): group_document(tenant, one) for one in tenant.groups.values()}
        return found | {("product", one.id): product_document(tenant, one) for one in tenant.products.values()}

    def plain(self, key: Key, document: Any) -> Any:
        return without(document, ("LastUpdateRequestUTC",))

    def asked(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Asked:
        words = [unquote(word) for word in target.partition("?")[0].strip("/").split("/")]
        operation = "read" if method == "GET" else "write"
        match words[3:]:
            case [list] if list in _TYPES:
                cursor = headers.get("Sphere-Continuation")
                return Asked(kind="list", type=_TYPES[list], operation=operation, cursor=cursor)
            case [list, id, *_] if list in _TYPES:
                return Asked(kind=operation, type=_TYPES[list], id=id, operation=operation, guardable=False)
            case _:
                return Asked(kind="read", type="operation", operation=operation)

    def shown(self, asked: Asked, answer: SimResponse) -> Shown | None:
        page = decoded(answer.body)
        name = "DeviceId" if asked.type == "device" else "Id"
        return Shown(
            ids=tuple(one[name].lower() for one in page["Items"]), cursor=page.get("ContinuationToken") or None
        )

    def not_found(self, answer: SimResponse) -> bool:
        return answer.status == 404 and b'"NotFound"' in answer.body

    def own_lines(self) -> Iterable[str]:
        return (f'tenant = "{self.cloud.sphere.tenant.id}"',)

    def all_wishes(self) -> Iterable[Wish]:
        goal = self.groups[0]
        yield Wish(
            name="moved",
            toml=self.declare("moved", f'group = "{goal}"', "id LIKE '%0' OR id LIKE '%5' OR id LIKE '%a'"),
            selects=lambda key, _: key[0] == "device" and key[1][-1] in "05a",
            holds=lambda document: document["DeviceGroupId"] == goal,
        )
        yield Wish(
            name="dumped",
            toml=self.declare("dumped", "AllowCrashDumpsCollection = true", "", resource="device-group"),
            selects=lambda key, _: key[0] == "device-group",
            holds=lambda document: document["AllowCrashDumpsCollection"],
        )

    def disturb(self, random: Random, type: str, id: str) -> None:
        sphere = self.cloud.sphere
        if type == "device" and id in sphere.tenant:
            sphere.operator_edit(id, {"DeviceGroupId": random.choice(self.groups)})
        elif type == "device-group":
            sphere.operator_edit(id, {"AllowCrashDumpsCollection": False})

    def operate(self, random: Random) -> None:
        sphere = self.cloud.sphere
        ids = [one.id for one in sphere.tenant]
        id, group = random.choice(ids), random.choice(self.groups)
        match random.randrange(6):
            case 0 if len(ids) > 4:
                sphere.tenant.remove(id)
                self.removed.append(id)
                self.deleted.add(("device", id))
            case 1 if self.removed:
                sphere.tenant.add(self.removed.pop(), group_id=group)
                self.happened["a device made anew under its id"] += 1
            case 2:
                sphere.check_in(id)
            case 3:
                text = f"{random.random()}"
                sphere.operator_edit(group, {"Description": text})
                self.edits[("device-group", group), "Description"] = text
            case 4:
                self.disturb(random, "device-group", group)
            case _:
                self.disturb(random, "device", id)

    def recover(self) -> None:
        operations = self.cloud.sphere.operations
        operations.fail_share = operations.errors_share = 0.0
        operations.lasts_s, operations.kept_s = self.cloud.options.sphere_operation_s, 86_400.0
        for one in operations._running.values():
            one.ends_at = min(one.ends_at, self.now() + 1.0)
