"""How answers look: tables and colours for people on a terminal, plain lines and JSON for everything else."""

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO

from fleetsync.log import printable

if TYPE_CHECKING:
    from rich.console import Console

Format = Literal["table", "json", "jsonl", "csv"]
Styled = str | tuple[str, str]
"""A piece of a line; in a tuple with its style, which counts on a terminal only."""

# A cell longer than this helps nobody on a terminal.
_LONGEST_CELL = 200
_LEAST_WIDTH = 4
_GAP = 2


def is_terminal(stream: TextIO | None = None) -> bool:
    """Say whether a person reads the stream, standard output by default."""
    return (stream or sys.stdout).isatty()


def escaped(text: str) -> str:
    """Return a text from outside so that it stays on its line and no terminal obeys it."""
    if text.isprintable():
        return text
    return printable(text)


def line(*parts: Styled) -> None:
    """Print one line of pieces, each escaped."""
    pieces = [(part, "") if isinstance(part, str) else part for part in parts]
    if not is_terminal():
        print("".join(escaped(text) for text, _ in pieces))
        return
    from rich.text import Text

    _console().print(Text.assemble(*((escaped(text), style) for text, style in pieces)), soft_wrap=True)


def remark(text: str) -> None:
    """Print one line to standard error."""
    print(escaped(text), file=sys.stderr, flush=True)


def ask(text: str) -> None:
    """Print the beginning of a line to standard error, to be ended by an answer."""
    print(escaped(text), end="", file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """Print an error to standard error: one line."""
    remark(f"fleetsync: {text}")


def print_json(value: object) -> None:
    """Print a value as JSON, indented. Whatever a terminal could obey is escaped in JSON's own way."""
    print(json_text(value, indent=2))


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON; every character that is not printable is escaped, all others are themselves."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def json_pieces(value: object, above: str = "") -> Iterator[str]:
    """Yield the pieces of what `json_text(value, indent=2)` returns.

    An iterator is an array that is gone through once, piece by piece. `above` is the indentation of what is around.
    """
    match value:
        case dict():
            items = ((f"{json_text(name)}: ", json_pieces(item, f"{above}  ")) for name, item in value.items())
            yield from _enclosed("{", items, "}", above)
        case list():
            yield from _enclosed("[", (("", json_pieces(item, f"{above}  ")) for item in value), "]", above)
        case Iterator():
            yield from _enclosed("[", (("", [_indented(item, f"{above}  ")]) for item in value), "]", above)
        case _:
            yield _indented(value, above)


def _enclosed(opening: str, items: Iterable[tuple[str, Iterable[str]]], closing: str, above: str) -> Iterator[str]:
    is_empty = True
    yield opening
    for before, pieces in items:
        yield f"{'' if is_empty else ','}\n{above}  {before}"
        yield from pieces
        is_empty = False
    yield closing if is_empty else f"\n{above}{closing}"


def _indented(value: object, above: str) -> str:
    return json_text(value, indent=2).replace("\n", f"\n{above}")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows: a table as wide as the terminal, elsewhere lines with tabs between, the first with the names."""
    if not is_terminal():
        print("\t".join(columns))
        for row in rows:
            print("\t".join(escaped(cell(value)) for value in row))
        return
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    names = [escaped(column) for column in columns]
    cells = [[escaped(cell(value)[:_LONGEST_CELL]) for value in row] for row in rows]
    console = _console()
    natural = [max(map(cell_len, texts)) for texts in zip(names, *cells, strict=True)]
    widths = _fitting(natural, console.width - _GAP * len(names))
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0), header_style="bold")
    for name, width in zip(names, widths, strict=True):
        drawn.add_column(Text(name), no_wrap=True, overflow="ellipsis", width=width)
    for texts in cells:
        drawn.add_row(*map(Text, texts))
    console.print(drawn)


def _fitting(widths: Sequence[int], room: int) -> list[int]:
    """Return the widths, the widest ones cut to one measure so that all of them fit; none below the least."""
    most = max(widths, default=0)
    while most > _LEAST_WIDTH and sum(min(width, most) for width in widths) > room:
        most -= 1
    return [min(width, most) for width in widths]


def cell(value: object) -> str:
    """Return a value of the database as text; nothing where there is none, bytes in hexadecimal."""
    match value:
        case None:
            return ""
        case bytes():
            return value.hex()
        case _:
            return str(value)


def print_rows(columns: Sequence[str], rows: Iterator[Sequence[Any]], style: Format) -> None:
    """Print the answer to a question, row by row but for tables on a terminal.

    json: an array with an object for each row. jsonl: an object in each line. csv: RFC 4180, the first record names
    the columns; NULL is an empty field. Texts stay texts, also those that hold JSON; bytes are in hexadecimal; a number
    that JSON cannot write is null. A name that comes twice gets `_2`, `_3`, ….
    """
    names = _distinct(columns)
    match style:
        case "table":
            table(columns, rows)
        case "json":
            _print_array(_objects(names, rows))
        case "jsonl":
            for item in _objects(names, rows):
                print(json_text(item))
        case "csv":
            _print_csv(columns, rows)


def _print_csv(columns: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    shown = escaped if is_terminal() else str
    writer.writerow(shown(column) for column in columns)
    for row in rows:
        writer.writerow(shown(cell(value)) for value in row)


def _print_array(items: Iterator[object]) -> None:
    first = next(items, None)
    if first is None:
        print("[]")
        return
    print(f"[\n  {json_text(first)}", end="")
    for item in items:
        print(f",\n  {json_text(item)}", end="")
    print("\n]")


def _objects(names: Sequence[str], rows: Iterator[Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield dict(zip(names, map(_json_value, row), strict=True))


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _distinct(columns: Sequence[str]) -> list[str]:
    names: list[str] = []
    for column in columns:
        name, number = column, 1
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)
