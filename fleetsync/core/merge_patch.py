"""JSON Merge Patch (RFC 7396), both ways, and the equality of JSON values."""

from collections.abc import Mapping
from functools import cache

import msgspec

from fleetsync.core.path import Path

Json = object
"""A decoded JSON value: None, bool, int, float, str, list, dict."""

_ABSENT = object()
# What is written alike is the same, and to write it takes a tenth of looking at each value.
_encode = msgspec.json.Encoder().encode


def apply_patch(target: Json, patch: Json) -> Json:
    """Return `target` with `patch` merged in; neither is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = apply_patch(merged.get(key), value)
    return merged


def diff(old: Json, new: Json, but: tuple[Path, ...] = ()) -> Json:
    """Return the smallest merge patch that leads from `old` to `new`; the members at `but` are in neither.

    What a merge patch cannot say is said as well as it can: a member that became null reads as deleted.
    """
    if not isinstance(old, dict) or not isinstance(new, dict):
        return without(new, but)
    here, below = _by_level(but)
    patch: dict[str, Json] = {}
    added = 0
    for key, value in new.items():
        before = old.get(key, _ABSENT)
        if before is value or (type(value) is str and before == value):  # most are
            continue
        added += before is _ABSENT
        if key in here:
            continue
        if type(value) is str:
            patch[key] = value
        elif isinstance(before, dict) and isinstance(value, dict):
            if _encode(before) != _encode(value) and (below_it := diff(before, value, below.get(key, ()))):
                patch[key] = below_it
        elif before is _ABSENT or not same(before, value):
            patch[key] = without(value, below.get(key, ()))
    if len(old) == len(new) - added:
        return patch
    return {key: None for key in old if key not in new and key not in here} | patch


def same(one: Json, other: Json) -> bool:
    """Say whether two JSON values are equal: 1 is 1.0 but not true, order counts in arrays only."""
    if one is other or type(one) is str or type(other) is str:  # most are
        return one == other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and (_encode(one) == _encode(other) or all(map(same, one, other)))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other


def patch_of(leaves: Mapping[Path, Json]) -> dict[str, Json]:
    """Return the merge patch that sets every leaf; None deletes it."""
    patch: dict[str, Json] = {}
    for path, value in leaves.items():
        node = patch
        for key in path[:-1]:
            child = node.setdefault(key, {})
            if not isinstance(child, dict):
                raise TypeError(f"two leaves of one patch overlap at {path}")
            node = child
        node[path[-1]] = value
    return patch


def without(document: Json, paths: tuple[Path, ...]) -> Json:
    """Return `document` without the members at `paths`."""
    if not isinstance(document, dict) or not paths:
        return document
    here, below = _by_level(paths)
    return {
        key: without(value, below[key]) if key in below else value for key, value in document.items() if key not in here
    }


@cache
def _by_level(paths: tuple[Path, ...]) -> tuple[frozenset[str], Mapping[str, tuple[Path, ...]]]:
    """Return the members that paths name themselves, and below which other members they lead on."""
    below: dict[str, tuple[Path, ...]] = {}
    for path in paths:
        if len(path) > 1:
            below[path[0]] = (*below.get(path[0], ()), path[1:])
    return frozenset(path[0] for path in paths if len(path) == 1), below
