"""Patches as unified diffs: reading them, and applying them to a copy of the package."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
_HEADER = re.compile(r"\+\+\+ b/(\S+)")
_SEED = re.compile(r"# caught by seed (\d+)")


class StalePatchError(Exception):
    """The code is not any more what a patch was made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What one patch breaks, and how: pieces of text, each with its file, what stands there and what comes instead."""

    name: str
    breaks: str
    seed: int | None
    """One that is known to catch it."""
    pieces: tuple[tuple[str, str, str], ...]

    @property
    def promise(self) -> str:
        """Return the promise that it breaks."""
        return self.name.partition("-")[0]

    def apply(self, root: Path) -> None:
        """Change the files below `root`.

        Raises:
            StalePatchError: what it wants to replace does not stand there, or more than once.
        """
        for name, old, new in self.pieces:
            file = root / name
            text = file.read_text(encoding="utf-8")
            if text.count(old) != 1:
                raise StalePatchError(f"{self.name}: what it replaces stands {text.count(old)} times in {name}:\n{old}")
            file.write_text(text.replace(old, new), encoding="utf-8")


def patches() -> tuple[Patch, ...]:
    """Return all patches, by promise."""
    found = (read(file) for file in FOLDER.glob("P*.patch"))
    return tuple(sorted(found, key=lambda patch: (int(patch.promise[1:]), patch.name)))


def read(file: Path) -> Patch:
    """Return a patch; where a piece stands in its file does not matter, only that it stands there once."""
    lines = file.read_text(encoding="utf-8").splitlines()
    said = [line for line in lines if line.startswith("#")]
    seeds = [match[1] for line in said if (match := _SEED.match(line))]
    pieces: list[tuple[str, str, str]] = []
    target, old, new = "", [""], [""]

    def end() -> None:
        if any(old) or any(new):
            pieces.append((target, "".join(old), "".join(new)))
        old.clear()
        new.clear()

    for line in lines:
        if line.startswith(("@@", "--- ")):
            end()
        elif match := _HEADER.match(line):
            target = match[1]
        elif target and line[:1] in (" ", "-", "+", ""):
            if line[:1] != "+":
                old.append(f"{line[1:]}\n")
            if line[:1] != "-":
                new.append(f"{line[1:]}\n")
    end()
    return Patch(
        name=file.stem,
        breaks=said[0].removeprefix("#").strip(),
        seed=int(seeds[0]) if seeds else None,
        pieces=tuple(pieces),
    )


def note(patch: Patch, seed: int) -> None:
    """Write into a patch which seed catches it."""
    file = FOLDER / f"{patch.name}.patch"
    first, *rest = file.read_text(encoding="utf-8").splitlines(keepends=True)
    rest = [line for line in rest if not _SEED.match(line)]
    file.write_text("".join([first, f"# caught by seed {seed}\n", *rest]), encoding="utf-8")


def copy(folder: Path, patch: Patch | None = None) -> None:
    """Put the package into a folder, broken or not, and the tests beside it."""
    for name in ("fleetsync", "migrations"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    if patch is not None:
        patch.apply(folder)
    (folder / "tests").symlink_to(ROOT / "tests")
