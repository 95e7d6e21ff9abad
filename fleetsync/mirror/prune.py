"""Forgetting what is older than the operator wants to keep, in small transactions that hold nobody up."""

import datetime

from sqlalchemy import ColumnElement, Table, delete, exists, func, select, true, tuple_

from fleetsync.clock import Clock
from fleetsync.mirror.engine import Writer
from fleetsync.mirror.tables import cycle, event, listing, pace, resource, resource_name, spending, write

_BATCH = 1000
_RATES_KEPT = datetime.timedelta(days=7)
"""Longer than any hold, and than any rate takes to recover."""


async def prune(writer: Writer, clock: Clock, *, history_s: float, gone_s: float, cycles_s: float) -> int:
    """Delete events, ended writes, tombstones and cycles that are older than these seconds; return how many rows.

    Rates and costs of days that nobody needs any more go as well.

    What is still needed stays: a write whose outcome is open, and the last cycle of every source.
    """
    now = clock.now()
    history = now - datetime.timedelta(seconds=history_s)
    gone = now - datetime.timedelta(seconds=gone_s)
    cycles = now - datetime.timedelta(seconds=cycles_s)
    recently = now - _RATES_KEPT
    last = select(func.max(cycle.c.id)).group_by(cycle.c.source)
    return (
        await _delete_named(writer, event, event.c.at < history)
        + await _delete_oldest(writer, write, write.c.finished_at < history)
        + await _delete_named(writer, resource, resource.c.gone_at < gone)
        + await _delete(writer, listing, (listing.c.finished_at < cycles) & ~_is_cited(min(history, gone)))
        + await _delete(writer, cycle, (cycle.c.finished_at < cycles) & cycle.c.id.not_in(last))
        + await _delete(writer, pace, (pace.c.at < recently) & func.coalesce(pace.c.held_until < recently, true()))
        + await _delete(writer, spending, spending.c.day < recently.date())
    )


def _is_cited(since: datetime.datetime) -> ColumnElement[bool]:
    """Say of a listing that a tombstone or an event names it, or will once its resource is found to be gone."""
    missed = select(resource.c.missed_since).where(resource.c.missed_since.is_not(None), resource.c.gone_at.is_(None))
    return (func.coalesce(listing.c.cited_at, since) > since) | listing.c.id.in_(missed)


async def _delete_named(writer: Writer, table: Table, is_old: ColumnElement[bool]) -> int:
    """Delete what is old of a table of numbers, and the names of those that have neither a row nor a history now."""
    [key] = table.primary_key.columns
    is_left = exists().where(resource.c.no == resource_name.c.no) | exists().where(event.c.no == resource_name.c.no)
    deleted = 0
    while True:
        async with writer.transaction() as transaction:
            some = await transaction.rows(select(key, table.c.no.label("named")).where(is_old).limit(_BATCH))
            count = await transaction.run(delete(table).where(key.in_([row[0] for row in some])))
            numbers = sorted({named for _, named in some})
            await transaction.run(delete(resource_name).where(resource_name.c.no.in_(numbers), ~is_left))
        deleted += count
        if count < _BATCH:
            return deleted


async def _delete_oldest(writer: Writer, table: Table, is_old: ColumnElement[bool]) -> int:
    """Delete what is old of a table that grows at its end and has no index on its times: without reading all of it.

    What stands among the old and may not go is passed over, as long as it is less than a batch.
    """
    deleted = 0
    while True:
        oldest = select(table.c.id).order_by(table.c.id).limit(_BATCH)
        async with writer.transaction() as transaction:
            count = await transaction.run(delete(table).where(table.c.id.in_(oldest), is_old))
        deleted += count
        if not count:
            return deleted


async def _delete(writer: Writer, table: Table, is_old: ColumnElement[bool]) -> int:
    key = tuple_(*table.primary_key.columns)
    deleted = 0
    while True:
        some = select(*table.primary_key.columns).where(is_old).limit(_BATCH)
        async with writer.transaction() as transaction:
            count = await transaction.run(delete(table).where(key.in_(some)))
        deleted += count
        if count < _BATCH:
            return deleted
