"""What every provider must do, against a simulated service that speaks the dialect of the real one."""

from abc import ABC, abstractmethod

import msgspec
import pytest

from fleetsync.core.declaration import UNKNOWN
from fleetsync.core.merge_patch import without
from fleetsync.core.model import DEVICE, Detail, Page, Part, Resource, ResourceKey, ResourceType
from fleetsync.core.operation import Standing
from fleetsync.core.path import Path
from fleetsync.core.plan import Change, GuardKind, Leaf, actual_at
from fleetsync.errors import ConflictError, NotFoundError
from fleetsync.providers.base import Provider, Target, load


class ProviderContract(ABC):
    """A subclass says how its service is made, and what somebody else does to it. Its name begins with Test."""

    kind: str
    type: ResourceType = DEVICE
    """What is listed and written here; a "device" below is one of these."""
    missing_id = "no-such-device"

    @pytest.fixture
    @abstractmethod
    def target(self) -> Target:
        """Return a source of this kind with more devices than fit on one page."""

    @abstractmethod
    def ids(self) -> list[str]:
        """Return the ids of the devices that the service has now."""

    @abstractmethod
    def edit(self, id: str) -> None:
        """Change a device behind our back, not at `desired`."""

    @abstractmethod
    def make_empty(self) -> None:
        """Delete every device of the service."""

    @abstractmethod
    def lose_the_array(self) -> None:
        """Let the next list lack its array."""

    @abstractmethod
    def desired(self) -> tuple[Part, Path, object]:
        """Return a part, a path in it and a value that no device has there."""

    def let_it_end(self) -> None:
        """Let the service finish what it was asked to do; for those whose writes go on after their answer."""
        raise AssertionError("this service has operations")

    async def pages(self, target: Target) -> list[Page]:
        pages, cursor = [], None
        while not pages or cursor is not None:
            pages.append(await target.page(self.type, cursor))
            cursor = pages[-1].next
        return pages

    async def test_the_pages_show_every_device_once_and_the_last_one_alone_has_no_next(self, target: Target) -> None:
        pages = await self.pages(target)
        assert len(pages) > 1
        assert sorted(one.id for page in pages for one in page.resources) == sorted(self.ids())
        assert [page.next is None for page in pages] == [False] * (len(pages) - 1) + [True]

    async def test_a_service_without_devices_is_one_empty_page(self, target: Target) -> None:
        self.make_empty()
        assert await self.pages(target) == [Page(resources=(), next=None)]

    async def test_absent_is_not_empty(self, target: Target) -> None:
        self.lose_the_array()
        with pytest.raises(Exception, match="promised") as caught:
            await target.page(self.type, None)
        assert type(caught.value).__name__ == "InvalidResponseError"

    async def test_what_is_listed_is_what_is_read(self, target: Target) -> None:
        volatile = target.kind.specs[self.type].volatile
        for listed in (await self.pages(target))[0].resources:
            read = await target.read(ResourceKey(target.name, self.type, listed.id))
            assert (read.id, read.etag, read.facts) == (listed.id, listed.etag, listed.facts)
            shown = [without(msgspec.json.decode(one.document), volatile) for one in (read, listed)]
            assert shown[0] == shown[1]

    async def test_a_missing_device_is_not_found(self, target: Target) -> None:
        with pytest.raises(NotFoundError):
            await target.read(ResourceKey(target.name, self.type, self.missing_id))

    async def test_a_document_names_its_device_and_is_json(self, target: Target) -> None:
        for page in await self.pages(target):
            for one in page.resources:
                assert isinstance(msgspec.json.decode(one.document), dict)
                assert one.id.lower().encode() in one.document.lower()

    async def change(self, target: Target, id: str) -> Change:
        part, path, value = self.desired()
        shown = await target.read(ResourceKey(target.name, self.type, id))
        guard = target.guard(part, shown)
        assert guard is not None
        leaf = Leaf(path=path, actual=UNKNOWN, declared=value, declarations=("d",))
        return Change(key=ResourceKey(target.name, self.type, id), part=part, guard=guard, leaves=(leaf,))

    def declarable(self, target: Target, shown: Resource | Detail) -> object:
        assert isinstance(shown, Resource)
        return target.declarable(self.type, msgspec.json.decode(shown.document), {})

    async def shown(self, target: Target, id: str) -> object:
        """Return what declarations are compared with, as it is now."""
        return self.declarable(target, await target.read(ResourceKey(target.name, self.type, id)))

    async def test_a_patch_changes_what_it_says_and_nothing_else(self, target: Target) -> None:
        _, path, value = self.desired()
        id = self.ids()[0]
        before = await self.shown(target, id)

        change = await self.change(target, id)
        written = await target.patch(change)
        if written.operation is not None:
            self.let_it_end()
            followed = await target.follow(change.key, change.part, written.operation)
            assert followed.standing is Standing.DONE

        after = await self.shown(target, id)
        # What an answer does not show is read back, as the guard wants it.
        assert written.shown is not None or change.guard.needs_reread
        assert written.shown is None or self.declarable(target, written.shown) == after
        assert isinstance(before, dict)
        assert isinstance(after, dict)
        assert {name for name in before | after if before.get(name) != after.get(name)} - {"etag"} == {path[0]}
        assert actual_at(after, path) == value

    async def test_a_stale_write_is_a_conflict_and_changes_nothing(self, target: Target) -> None:
        id = self.ids()[0]
        change = await self.change(target, id)
        if change.guard.kind is GuardKind.REREAD and change.guard.etag is None:
            # The service has nothing to compare: who writes reads before and after.
            return
        self.edit(id)
        before = await target.read(change.key)
        with pytest.raises(ConflictError):
            await target.patch(change)
        assert await target.read(change.key) == before

    def test_the_kind_in_the_configuration_is_the_name_of_the_module(self) -> None:
        provider = load(self.kind)
        assert isinstance(provider, Provider)
        assert provider.kind.name == self.kind

    def test_every_writable_path_is_in_a_part_and_every_view_has_a_plain_name(self) -> None:
        for spec in load(self.kind).kind.types:
            assert spec.view.isidentifier()
            assert spec.view == spec.view.lower()
            for writable in spec.writable:
                assert writable.path
                assert writable.part

    def test_every_request_of_a_forecast_counts_as_a_class_of_the_kind(self) -> None:
        kind = load(self.kind).kind
        assert {spec.listed_as for spec in kind.types} <= set(kind.operations)
        parts = {part for spec in kind.types for part in (*spec.details, *(one.part for one in spec.writable))}
        assert parts == kind.costs.keys()
        for cost in kind.costs.values():
            assert cost.write.keys() | cost.read.keys() <= set(kind.operations)
            assert all(cost.write.values())
            assert all(cost.read.values())
