"""What a page says against what is stored."""

import json

from fleetsync.core.delta import Delta, Event, Stored, compare
from fleetsync.core.document import digest_of
from fleetsync.core.kind import TypeSpec
from fleetsync.core.model import DEVICE, ETag, Resource

OLD = b'{"id":"a","etag":"1","name":"old"}'
SPEC = TypeSpec(type=DEVICE, view="devices", volatile=(("etag",),))


def resource(document: bytes) -> tuple[Resource, bytes]:
    return Resource(id=json.loads(document)["id"], document=document, etag=ETag("e")), digest_of(document)


def against(document: bytes, *, gone: bool = False, missed: bool = False, stored: bytes = OLD) -> Delta:
    is_other = digest_of(document) != digest_of(stored)
    row = Stored(
        no=7, digest=digest_of(stored), gone=gone, missed=missed, document=stored.decode() if is_other else None
    )
    return compare({"a": row}, [resource(document)], SPEC)


def test_what_is_not_stored_is_added() -> None:
    delta = compare({}, [resource(OLD)], SPEC)
    assert [new.id for new, _ in delta.added] == ["a"]
    assert (delta.updates, delta.seen, delta.found, delta.unchanged) == ([], [], [], 0)


def test_the_same_bytes_are_unchanged_and_seen() -> None:
    delta = against(OLD)
    assert (delta.added, delta.updates, delta.seen, delta.found, delta.unchanged) == ([], [], [7], [], 1)


def test_other_values_are_an_update_with_a_patch() -> None:
    [update] = against(b'{"id":"a","etag":"2","name":"new","more":1}').updates
    assert (update.no, update.event, update.patch) == (7, Event.UPDATED, {"name": "new", "more": 1})


def test_volatile_members_alone_are_written_and_are_no_event() -> None:
    [update] = against(b'{"id":"a","etag":"2","name":"old"}').updates
    assert (update.event, update.patch) == (None, None)
    assert update.resource.document == b'{"id":"a","etag":"2","name":"old"}'


def test_another_order_of_members_is_no_event() -> None:
    [update] = against(b'{"name":"old", "id":"a"}').updates
    assert update.event is None


def test_what_was_gone_is_returned_as_it_was_or_as_it_is() -> None:
    [same] = against(OLD, gone=True).updates
    [other] = against(b'{"id":"a","name":"new"}', gone=True).updates
    assert (same.event, same.patch) == (Event.RETURNED, None)
    assert (other.event, other.patch) == (Event.RETURNED, {"name": "new"})


def test_what_was_missed_is_found_whether_it_changed_or_not() -> None:
    assert against(OLD, missed=True).found == [7]
    assert against(b'{"id":"a"}', missed=True).found == [7]


def test_what_stands_twice_in_a_page_is_believed_the_second_time() -> None:
    delta = compare({}, [resource(OLD), resource(b'{"id":"a","name":"second"}')], SPEC)
    assert [new.document for new, _ in delta.added] == [b'{"id":"a","name":"second"}']


def test_ids_are_compared_byte_for_byte() -> None:
    delta = compare({"a": Stored(no=1, digest=digest_of(OLD))}, [resource(b'{"id":"A"}')], SPEC)
    assert [new.id for new, _ in delta.added] == ["A"]


def test_digests_tell_documents_apart() -> None:
    assert len(digest_of(OLD)) == 16
    assert digest_of(OLD) != digest_of(OLD + b" ")
