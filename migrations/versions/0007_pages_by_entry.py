"""Of a page that is known by its bytes the digests of its entries are kept, too; events are found by id first.
Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Only what is found again by looking: the next listing keeps its pages anew.
    op.drop_table("kept_page")
    op.create_table(
        "kept_page",
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("entries", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("first"),
    )
    op.drop_index("event_by_resource", table_name="event", if_exists=True)
    op.create_index("event_by_resource", "event", ["resource_id", "type", "source", "id"])
