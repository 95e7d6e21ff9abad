"""What is wrong with a source, since when, and when it is asked again; what is on record of listings.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


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
