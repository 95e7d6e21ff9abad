"""What is wrong with a source, since when, and when it is asked again.

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
