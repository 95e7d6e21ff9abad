"""The query language of IoT Hub; whatever else there is, is invalid here.

    SELECT [TOP n] * | path [AS name], ...
        FROM devices | devices.modules [WHERE condition]
    SELECT COUNT() AS name | path [AS name], ...
        FROM devices | devices.modules [WHERE condition] [GROUP BY path, ...]

`[[name]]` quotes a name. Not served: jobs, and aggregates that do not count.
Facts: iot-hub-devguide-query-language at learn.microsoft.com, and MicrosoftDocs/azure-docs issue 17106 (quoted names),
read 2026-11.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleetsync.simulator.iot_hub.conditions import Condition, condition
from fleetsync.simulator.iot_hub.index import Source
from fleetsync.simulator.iot_hub.query_tokens import QueryError, Words
from fleetsync.simulator.iot_hub.records import ABSENT, Record, value_of
from fleetsync.simulator.iot_hub.twins import Path
from fleetsync.simulator.wire import Object, encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query taken apart; without columns it selects whole rows, `counted_as` makes it count rows by its columns."""

    source: Source
    columns: Mapping[str, Path]
    counted_as: str | None
    condition: Condition | None
    top: int | None

    @property
    def is_whole(self) -> bool:
        """True when its rows are whole twins."""
        return not self.columns and self.counted_as is None

    def selects(self, record: Record) -> bool:
        """True for a row of the answer."""
        return self.condition is None or self.condition(record)

    def projected(self, record: Record) -> Object:
        """Return the columns of a row; a value that is missing is left out."""
        found = {name: value_of(record, path) for name, path in self.columns.items()}
        return {name: value for name, value in found.items() if value is not ABSENT}

    def counted(self, records: Iterable[Record]) -> list[Object]:
        """Return how many rows there are, for each of the values that their columns have; without columns, of all."""
        groups: dict[bytes, Object] = {} if self.columns else {encoded({}): {}}
        numbers: Counter[bytes] = Counter()
        for record in filter(self.selects, records):
            group = self.projected(record)
            key = encoded(group)
            groups.setdefault(key, group)
            numbers[key] += 1
        return [{**group, str(self.counted_as): numbers[key]} for key, group in groups.items()]


def parse_query(text: str) -> Query:
    """Take a query apart.

    Raises:
        QueryError: it is not of the form above.
    """
    words = Words(text)
    words.expect("select")
    top = _top(words)
    columns, counted_as = _columns(words)
    words.expect("from")
    source = _source(words)
    where = condition(words) if words.has("where") else None
    if columns and counted_as is not None:
        _grouped(words, columns)
    elif counted_as is not None and top is not None:
        raise QueryError("a count has no top")
    words.end()
    return Query(source=source, columns=columns, counted_as=counted_as, condition=where, top=top)


def _top(words: Words) -> int | None:
    if not words.has("top"):
        return None
    number = words.literal()
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise QueryError("TOP needs a number")
    return number


def _columns(words: Words) -> tuple[dict[str, Path], str | None]:
    columns: dict[str, Path] = {}
    counted_as: str | None = None
    if words.has("*"):
        return columns, counted_as
    while True:
        if counted_as is None and words.has("count"):
            words.expect("(", ")", "as")
            counted_as = words.name()
        else:
            path = words.path()
            columns[words.name() if words.has("as") else path[-1]] = path
        if not words.has(","):
            return columns, counted_as


def _source(words: Words) -> Source:
    words.expect("devices")
    if not words.has("."):
        return "devices"
    words.expect("modules")
    return "devices.modules"


def _grouped(words: Words, columns: Mapping[str, Path]) -> None:
    """Read what is grouped by, which has to be what is shown."""
    words.expect("group", "by")
    paths = {words.path()}
    while words.has(","):
        paths.add(words.path())
    if paths != set(columns.values()):
        raise QueryError("the columns are not what is grouped by")
