import contextlib
import io
import json
from collections.abc import Iterator

import pytest

from fleetsync.cli import output, progress
from fleetsync.reconcile.progress import Progress, silent
from tests.fakes.clock import FakeClock

NASTY = "\x1b[31mred\x1b[0m\n<2>\x9b\u202e"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _narrow_and_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "dumb")


@contextlib.contextmanager
def on_terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    with contextlib.redirect_stdout(terminal), contextlib.redirect_stderr(terminal):
        yield terminal


def is_harmless(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("style", ["table", "json", "jsonl", "csv"])
def test_a_terminal_never_gets_a_control_character(style: output.Format) -> None:
    with on_terminal() as terminal:
        output.print_rows([NASTY], iter([[NASTY]]), style)

    assert "red" in terminal.getvalue()
    assert is_harmless(terminal.getvalue())


def test_a_line_on_a_terminal_holds_what_it_holds_and_nothing_that_acts() -> None:
    with on_terminal() as terminal:
        output.line("a ", ("[bold]\n", ""))

    assert terminal.getvalue() == "a [bold]\\n\n"


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        1,
        None,
        "a\nb",
        {"a": []},
        {"a": {}},
        [[], [1, [2]]],
        {"a": [{"b": NASTY, "c": {"d": [1, None]}}, {}], "é": 1.5},
    ],
)
def test_json_in_pieces_is_the_same_text(value: object) -> None:
    assert "".join(output.json_pieces(value)) == output.json_text(value, indent=2)
    items = [value, value]
    assert "".join(output.json_pieces({"x": iter(items)})) == output.json_text({"x": items}, indent=2)
    assert "".join(output.json_pieces({"x": iter(())})) == output.json_text({"x": []}, indent=2)


def test_json_keeps_what_was_escaped_in_it() -> None:
    text = output.json_text({"id": NASTY, "name": "Tromsø 🌧", "half": "\ud800"}, indent=2)

    assert is_harmless(text)
    assert "Tromsø 🌧" in text
    assert json.loads(text) == {"id": NASTY, "name": "Tromsø 🌧", "half": "\ud800"}


def test_a_table_is_as_wide_as_the_terminal_and_cuts_the_widest() -> None:
    with on_terminal() as terminal:
        output.table(["id", "document"], [["a-short-id", "x" * 500]])

    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    assert any("a-short-id" in line and "…" in line for line in lines)


def test_elsewhere_nothing_is_cut_or_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["id", "document"], [["a", "x" * 500], ["b", None]])

    assert capsys.readouterr().out == f"id\tdocument\na\t{'x' * 500}\nb\t\n"


async def test_progress_is_shown_after_a_second_and_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    clock = FakeClock()
    with on_terminal() as terminal, progress.shown(clock) as report:
        report(Progress(source="central", step="listing device", done=1))
        assert terminal.getvalue() == ""
        await clock.advance(2)
        report(Progress(source="central", step="listing device", done=2))
        assert "listing device" in terminal.getvalue()


def test_progress_is_silent_without_a_terminal() -> None:
    with progress.shown(FakeClock()) as report:
        assert report is silent
