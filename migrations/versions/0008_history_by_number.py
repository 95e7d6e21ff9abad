"""History goes by the numbers of rows, and what they stand for is kept as long as it lasts.
Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# What has a history and no row any more gets a number that no row has.
_FORGOTTEN = """
INSERT INTO resource_name (no, source, type, id)
SELECT (SELECT COALESCE(MAX(r.no), 0) FROM resource r) + ROW_NUMBER() OVER (ORDER BY e.resource_id, e.type, e.source),
       e.source, e.type, e.resource_id
  FROM (SELECT DISTINCT resource_id, type, source FROM event) e
 WHERE NOT EXISTS (
       SELECT 1 FROM resource r WHERE r.source = e.source AND r.type = e.type AND r.id = e.resource_id)
"""
# In this order of the join each event asks for its name; SQLite takes any other for as good.
_EVENTS = """
INSERT INTO event_by_number (id, no, at, cycle, event, patch, reason)
SELECT e.id, n.no, e.at, e.cycle, e.event, e.patch, e.reason
  FROM event e CROSS JOIN resource_name n
 WHERE n.id = e.resource_id AND n.type = e.type AND n.source = e.source
 ORDER BY e.id
"""
# Numbers of events that were forgotten are not given away again.
_SEQUENCE = (
    "DELETE FROM sqlite_sequence WHERE name = 'event_by_number'",
    "UPDATE sqlite_sequence SET name = 'event_by_number' WHERE name = 'event'",
)


def upgrade() -> None:
    connection = op.get_bind()
    # They stand in the way of a table that is made anew; every start makes them as they should be.
    for view in sa.inspect(connection).get_view_names():
        connection.execute(sa.text(f'DROP VIEW "{view}"'))
    # A first load may have been killed before it built them.
    op.create_index("resource_by_key", "resource", ["source", "type", "id"], unique=True, if_not_exists=True)
    op.create_index("event_by_resource", "event", ["resource_id", "type", "source", "id"], if_not_exists=True)
    op.create_table(
        "resource_name",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("no"),
    )
    op.execute("INSERT INTO resource_name (no, source, type, id) SELECT no, source, type, id FROM resource ORDER BY no")
    op.execute(_FORGOTTEN)
    op.create_index("resource_name_by_id", "resource_name", ["id", "type", "source"], unique=True)
    op.create_table(
        "event_by_number",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite"), nullable=False),
        sa.Column("cycle", sa.Integer(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("patch", sa.Text().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.execute(_EVENTS)
    if connection.dialect.name == "sqlite":
        for statement in _SEQUENCE:
            op.execute(statement)
    op.drop_table("event")
    op.rename_table("event_by_number", "event")
    op.create_index("event_by_resource", "event", ["no"])
    op.create_index("event_by_time", "event", ["at"])
