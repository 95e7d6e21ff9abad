"""Statements that are compiled once: parameters go in by name, values come out as their columns have them.

SQLAlchemy executes one at ten times the cost of the driver, since it finds out each time what it found out before.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Delete, Dialect, Select, Update

Process = Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A statement as the driver takes it, with parameters of certain names."""

    sql: str
    places: Sequence[tuple[str, Process]]
    """The parameters in their order, and what makes them what the driver takes."""
    constants: Mapping[str, Any]
    row: Callable[..., Any]
    columns: Sequence[Process]
    """What makes the values of a row what they are to us; nothing where they are that already."""

    def arranged(self, given: Mapping[str, Any]) -> list[Any]:
        """Return parameters as the driver takes them."""
        found = {**self.constants, **given}
        return [found[name] if process is None else process(found[name]) for name, process in self.places]

    def rows(self, found: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """Return rows with the names of their columns."""
        if not self.columns:
            return [self.row(*row) for row in found]
        return [
            self.row(*[value if process is None else process(value) for process, value in zip(self.columns, row)])  # noqa: B905 - both are of the same SELECT
            for row in found
        ]


class Compiled:
    """A constant of its module: a SELECT, a DELETE, or an UPDATE of those columns that its parameters are named by."""

    def __init__(self, statement: Select[Any] | Update | Delete) -> None:
        self._statement = statement
        self._forms: dict[tuple[str, ...], Form] = {}

    def form(self, dialect: Dialect, names: Sequence[str]) -> Form:
        """Return it for parameters of these names."""
        key = (dialect.name, *names)
        if key not in self._forms:
            self._forms[key] = self._formed(dialect, list(names))
        return self._forms[key]

    def _formed(self, dialect: Dialect, names: list[str]) -> Form:
        statement = self._statement
        compiled: Any = statement.compile(dialect=dialect, column_keys=names if isinstance(statement, Update) else None)
        # With lists that are constants written out; the values do not matter.
        state = compiled.construct_expanded_state(dict.fromkeys(names))
        places = state.positiontup or []
        own = {name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()}
        columns = list(statement.selected_columns) if isinstance(statement, Select) else []
        processes = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        return Form(
            sql=state.statement,
            places=[(name, own.get(name, state.processors.get(name))) for name in places],
            constants={name: state.parameters[name] for name in places if name not in names},
            row=namedtuple("Row", [getattr(column, "name", "") for column in columns], rename=True),
            columns=processes if any(processes) else [],
        )
