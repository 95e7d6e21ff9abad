"""The tables, as SQLite has them. They are ours to change; what users read are the views.

What another engine would have is for the migrations to say: to name it here loads that engine's dialect.
"""

import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
    types,
)

from fleetsync.core.counts import COUNTS


def text_of(at: datetime.datetime) -> str:
    """Return an instant as the database writes it: `2026-11-21T18:04:05.123Z`. Sorts as it runs.

    Raises:
        ValueError: the instant is naive.
    """
    if at.tzinfo is None:
        raise ValueError(f"an instant without an offset: {at}")
    return at.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class UtcDateTime(types.TypeDecorator[datetime.datetime]):
    """An aware instant, as text in SQLite, which would forget the offset."""

    impl = DateTime(timezone=True).with_variant(Text(), "sqlite")
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Refuse what has no offset."""
        return None if value is None else text_of(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime.datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return an aware instant."""
        return None if value is None else datetime.datetime.fromisoformat(value)


def _where(condition: str) -> dict[str, Any]:
    """Return what makes an index one of some rows only. It serves a query that says the same in these words."""
    return {"sqlite_where": text(condition)}


JSON = Text()

metadata = MetaData()

source = Table(
    "source",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("url", Text, nullable=False),
    # The service that was mirrored under this name: another one is refused until `db forget`.
    Column("identity", Text, nullable=False),
    Column("mode", Text, nullable=False),
    # A source that left the configuration leaves the views; its rows stay.
    Column("configured", Boolean, nullable=False),
    Column("paused", Boolean, nullable=False, default=False),
    Column("state", Text, nullable=False, default="up"),
    Column("error", Text),
    Column("last_complete_at", UtcDateTime),
    Column("next_due_at", UtcDateTime),
    Column("known", Integer, nullable=False, default=0),
    Column("drifting", Integer, nullable=False, default=0),
    # What a person accepted with `confirm`: exactly this many, once.
    Column("confirmed_writes", Integer),
    Column("confirmed_gone", Integer),
    # The writes of the last plan, if it was refused: what a person can accept.
    Column("refused_writes", Integer),
    # What is wrong with it, since when, and before when nothing is sent to it (`fleetsync.core.breaker`).
    Column("fault", Text),
    Column("fault_since", UtcDateTime),
    Column("probe_at", UtcDateTime),
    Column("openings", Integer, nullable=False, server_default="0"),
)

cycle = Table(
    "cycle",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("outcome", Text, nullable=False),
    Column("complete", Boolean, nullable=False, default=False),
    *(
        Column(name, types.Float if held is float else Integer, nullable=False, default=0)
        for name, held in COUNTS.items()
    ),
    Column("error", Text),
    Index("cycle_by_source", "source", "id"),
    sqlite_autoincrement=True,
)

# One listing of one type, from its first page to its end. Ids only grow: "before" and "after" are these numbers.
listing = Table(
    "listing",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    # One of open, complete, refused (suspiciously short), failed and abandoned.
    Column("state", Text, nullable=False),
    Column("resumed", Boolean, nullable=False, default=False),
    # Of one that was cut short and gone on with: after which page, and what had cut it short the last time.
    Column("resumed_from", Integer),
    Column("cut_by", Text),
    Column("pages", Integer, nullable=False, default=0),
    # What tells one chain of pages from another, and how many entries its first and its last page had.
    Column("chain", Text),
    Column("first_page", Integer),
    Column("last_page", Integer),
    # Its entries, and how many different resources they are; some are listed twice.
    Column("listed", Integer, nullable=False, default=0),
    Column("shown", Integer),
    # Entries that could not be stored; and those of them that are in no row of ours.
    Column("unreadable", Integer),
    Column("strangers", Integer),
    # How many known ones it did not show. Of one that was refused: how many it should have shown and did not.
    Column("unseen", Integer),
    # How many there are by the service's own count, where it has one, and whether what the list shows fits that.
    Column("counted", Integer),
    Column("agrees", Boolean),
    # When it was last named as what decided that something is gone.
    Column("cited_at", UtcDateTime),
    Column("cursor", Text),
    Column("cursor_at", UtcDateTime),
    # While it is open: which rows it has shown, as far as they follow one another, as pairs; the others are in `seen`.
    Column("runs", Text),
    # The last page is stored; what it showed is still to be judged.
    Column("ended", Boolean, nullable=False, default=False),
    Column("error", Text),
    Index("listing_by_type", "source", "type", "id"),
    sqlite_autoincrement=True,
)

# Which rows an open listing has shown: a bit per row number. What is in `runs` of the listing may be missing here.
seen = Table(
    "seen",
    metadata,
    Column("listing", Integer, ForeignKey("listing.id", ondelete="CASCADE"), primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("bits", LargeBinary, nullable=False),
)

# The last complete listing of each type: what it says of all rows that it did not miss.
coverage = Table(
    "coverage",
    metadata,
    Column("source", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("listing", Integer, nullable=False),
    Column("observed_at", UtcDateTime, nullable=False),
    Column("observed_by", Integer, nullable=False),
    Column("known", Integer, nullable=False),
)

resource = Table(
    "resource",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("etag", Text),
    Column("size_bytes", Integer, nullable=False),
    Column("display_name", Text),
    Column("enabled", Boolean),
    Column("provisioned", Boolean),
    Column("simulated", Boolean),
    Column("template", Text),
    Column("group_id", Text),
    Column("status", Text),
    Column("connection_state", Text),
    Column("last_activity_at", UtcDateTime),
    Column("version", Integer),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    # When and by which cycle this row was last looked at alone; complete listings since then are in `coverage`.
    Column("seen_at", UtcDateTime, nullable=False),
    Column("seen_by", Integer, nullable=False),
    # The complete listing that was the first not to show it; null while every one shows it.
    Column("missed_since", Integer),
    Column("gone_at", UtcDateTime),
    Column("gone_reason", Text),
    # Last, because they are long: what reads the columns above need not walk over them.
    Column("desired", JSON),
    Column("reported", JSON),
    Column("details", JSON),
    Column("document", JSON, nullable=False),
    Index("resource_by_key", "source", "type", "id", unique=True),
    Index(
        "resource_missed",
        "source",
        "type",
        **_where("missed_since IS NOT NULL AND gone_at IS NULL"),
    ),
    # Nothing that most devices are in: what a listing adds or changes seldom touches these.
    Index("resource_of_type", "type", "source", **_where("type <> 'device'")),
    Index("resource_disabled", "source", "id", **_where("NOT enabled")),
    Index("resource_gone", "gone_at", **_where("gone_at IS NOT NULL")),
)

# Which rows, that follow one another, a page of a listing showed just as they are since then; and the digest of the
# page's bytes: where they are the same again it need not be looked into. No row is in two of them. `entries` has the
# digests of the rows' documents, 16 bytes each, for a page of which only some are others.
kept_page = Table(
    "kept_page",
    metadata,
    Column("first", Integer, primary_key=True),
    Column("last", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("entries", LargeBinary, nullable=False),
)

NOT_BY_KEY = (text("NOT (resource.source <> :source)"), text("NOT (resource.type <> :type)"))
"""Rows of a source and type, in words that tempt no engine to the index of the keys: another order is the point."""

# What the number of a row of `resource` stands for, also after that was forgotten, as long as its history lasts. What
# was forgotten and comes again takes its history over.
resource_name = Table(
    "resource_name",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("id", Text, nullable=False),
    # What tells most of them apart comes first. That there is one of each is what leads from a few resources to their
    # history, and not from all of the history to them.
    Index("resource_name_by_id", "id", "type", "source", unique=True),
)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    # Of `resource_name`. What changes together stands side by side: an index of ids would be written all over.
    Column("no", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("event", Text, nullable=False),
    Column("patch", JSON),
    # Of something gone: what says so.
    Column("reason", Text),
    # Those of one resource are in the order of their ids without saying so.
    Index("event_by_resource", "no"),
    Index("event_by_time", "at"),
    sqlite_autoincrement=True,
)

write = Table(
    "write",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("part", Text, nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("plan", Text),
    Column("declarations", Text, nullable=False),
    Column("guard", Text, nullable=False),
    Column("etag", Text),
    Column("patch", JSON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", Integer),
    Column("outcome", Text, nullable=False),
    Column("request_id", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("error", Text),
    Index("write_by_resource", "source", "type", "resource_id", "id"),
    Index("write_open", "source", **_where("outcome = 'open'")),
    Index("write_not_done", "id", **_where("outcome NOT IN ('applied', 'already')")),
    sqlite_autoincrement=True,
)

# What a service was asked to do and has not said the end of. The handle is for the provider; no view shows it.
operation = Table(
    "operation",
    metadata,
    Column("write", Integer, ForeignKey("write.id", ondelete="CASCADE"), primary_key=True),
    Column("handle", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("deadline_at", UtcDateTime, nullable=False),
)

drift_leaf = Table(
    "drift_leaf",
    metadata,
    Column("source", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("resource_id", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("actual", JSON),
    Column("declared", JSON),
    Column("declaration", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("by", Text),
    Column("since", UtcDateTime, nullable=False),
    # When its value was first found to be what it is, while it was not as declared.
    Column("moved_at", UtcDateTime),
)

declaration = Table(
    "declaration",
    metadata,
    Column("name", Text, primary_key=True),
    Column("file", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("selector", Text),
    Column("priority", Integer, nullable=False),
    # The paths that it owns, for the `released` events when it is gone.
    Column("leaves", JSON, nullable=False),
)

# What a declaration selects in a source, and what holds it there.
selection = Table(
    "selection",
    metadata,
    Column("declaration", Text, ForeignKey("declaration.name", ondelete="CASCADE"), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("matched", Integer, nullable=False),
    Column("drifting", Integer, nullable=False),
    Column("error", Text),
)

# Which rows it selected there last: a bit per row number.
selected = Table(
    "selected",
    metadata,
    Column("declaration", Text, ForeignKey("declaration.name", ondelete="CASCADE"), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("bits", LargeBinary, nullable=False),
)

# The problems for which the daemon refused its last reload; empty when it took the configuration over.
reload = Table(
    "reload",
    metadata,
    Column("at", UtcDateTime, nullable=False),
    Column("file", Text, nullable=False),
    Column("line", Integer),
    Column("message", Text, nullable=False),
)

# What a quota scope was last seen to stand, by operation class; `*` is the bucket that classes share. Instants of the
# wall clock, and values that any worker can write: none of them is of one process.
pace = Table(
    "pace",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("operation", Text, primary_key=True),
    Column("per_s", types.Float, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("held_until", UtcDateTime),
    Column("why", Text, nullable=False),
)

# What a scope's UTC days have cost, where its service counts per day; workers add to it.
spending = Table(
    "spending",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("cost", Integer, nullable=False),
)
