"""Every promise is broken on purpose, in a copy of the code, and the simulation has to say so; see `mutations`."""

import warnings
from pathlib import Path

import pytest

from tests.simulation.invariants import PROMISES
from tests.simulation.mutations.__main__ import SEEDS
from tests.simulation.mutations.patching import ROOT, Patch, patches
from tests.simulation.mutations.running import hunt
from tests.simulation.run import Stage

_PATCHES = patches()
_each = pytest.mark.parametrize("patch", _PATCHES, ids=lambda patch: patch.name)


def test_every_promise_has_a_break() -> None:
    assert {patch.promise for patch in _PATCHES} == set(PROMISES)


@_each
def test_a_patch_still_fits_and_really_changes_the_code(patch: Patch, tmp_path: Path) -> None:
    names = {name for name, _, _ in patch.pieces}
    assert names
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    patch.apply(tmp_path)
    for name in names:
        broken = (tmp_path / name).read_text(encoding="utf-8")
        assert broken != (ROOT / name).read_text(encoding="utf-8")
        compile(broken, name, "exec")


@_each
@pytest.mark.filterwarnings("default::UserWarning")
def test_a_break_is_caught(patch: Patch) -> None:
    if patch.seed is None or hunt(patch, [patch.seed]).seed is None:
        warnings.warn(f"{patch.name}: seed {patch.seed} does not catch it any more: `make mutations`", stacklevel=1)
        assert hunt(patch, SEEDS).seed is not None


def test_the_unbroken_code_passes_the_same_seeds(staged: Stage) -> None:
    for seed in sorted({patch.seed for patch in _PATCHES if patch.seed is not None}):
        assert staged.history(seed).violations == [], f"make simulate START={seed} SEEDS=1 MORE=--log"
