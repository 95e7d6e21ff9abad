"""What waits for a person, why something is gone, and what a service counts itself.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("source", sa.Column("refused_writes", sa.Integer(), nullable=True))
    op.add_column("listing", sa.Column("counted", sa.Integer(), nullable=True))
    op.add_column("event", sa.Column("reason", sa.Text(), nullable=True))
    op.create_table(
        "reload",
        sa.Column("at", sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite"), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
    )
