"""Running histories in a copy of the package, each copy in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.simulation.mutations.patching import Patch, copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """Who caught a break: the seed, and what the predicate of its promise said. None is nobody."""

    seed: int | None
    said: str
    others: tuple[str, ...] = ()
    """What predicates of other promises said before that, each promise once."""


def hunt(patch: Patch, seeds: Sequence[int]) -> Caught:
    """Run these seeds in a broken copy until one of them catches the break."""
    with tempfile.TemporaryDirectory(prefix="fleetsync-mutation-") as folder:
        copy(Path(folder), patch)
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation.mutations.running", patch.promise, *map(str, seeds)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        return Caught(seed=None, said=f"it does not run: {done.stderr[-2000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return Caught(seed=told["seed"], said=told["said"], others=tuple(told["others"]))


def _main(promise: str, seeds: Sequence[int]) -> None:
    """Print who caught it, as JSON."""
    import fleetsync
    from tests.simulation.run import stage

    assert Path(fleetsync.__file__).parents[1] == Path.cwd(), fleetsync.__file__
    others: dict[str, None] = {}
    caught: dict[str, object] = {"seed": None, "said": ""}
    with stage() as made:
        for seed in seeds:
            violations = made.history(seed).violations
            mine = [text for text in violations if text.startswith(f"{promise}:")]
            if mine:
                caught = {"seed": seed, "said": mine[0][:500]}
                break
            others |= {text.partition(":")[0]: None for text in violations}
    sys.stdout.write(json.dumps({**caught, "others": list(others)}) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1], [int(seed) for seed in sys.argv[2:]])
