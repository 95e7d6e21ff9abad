"""What is wrong with a source, since when, and when it is asked again; records of listings and of drift; indexes.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_INDEXES = (
    ("resource_of_type", "resource", ["type", "source"], "type <> 'device'"),
    ("resource_disabled", "resource", ["source", "id"], "NOT enabled"),
    ("resource_gone", "resource", ["gone_at"], "gone_at IS NOT NULL"),
    ("event_by_time", "event", ["at"], None),
    ("write_not_done", "write", ["id"], "outcome NOT IN ('applied', 'already')"),
)


def upgrade() -> None:
    op.add_column("source", sa.Column("fault", sa.Text(), nullable=True))
    op.add_column(
        "source",
        sa.Column("fault_since", sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite"), nullable=True),
    )
    op.add_column(
        "source",
        sa.Column("probe_at", sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite"), nullable=True),
    )
    op.add_column("source", sa.Column("openings", sa.Integer(), server_default="0", nullable=False))
    op.add_column("listing", sa.Column("resumed_from", sa.Integer(), nullable=True))
    op.add_column("listing", sa.Column("cut_by", sa.Text(), nullable=True))
    op.add_column("listing", sa.Column("chain", sa.Text(), nullable=True))
    op.add_column("listing", sa.Column("first_page", sa.Integer(), nullable=True))
    op.add_column("listing", sa.Column("last_page", sa.Integer(), nullable=True))
    op.add_column("listing", sa.Column("shown", sa.Integer(), nullable=True))
    op.add_column("listing", sa.Column("unreadable", sa.Integer(), nullable=True))
    op.add_column("listing", sa.Column("strangers", sa.Integer(), nullable=True))
    op.add_column("listing", sa.Column("agrees", sa.Boolean(), nullable=True))
    op.add_column(
        "listing",
        sa.Column("cited_at", sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite"), nullable=True),
    )
    op.add_column(
        "drift_leaf",
        sa.Column("moved_at", sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite"), nullable=True),
    )
    for name, table, columns, condition in _INDEXES:
        where = None if condition is None else sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
