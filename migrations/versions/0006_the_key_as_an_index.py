"""The key of resources is an index, which a first load builds at its end; pages are known by their bytes;
what a listing showed is kept in one row while it follows the rows.
Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    # They stand in the way of a table that is made anew; every start makes them as they should be.
    for view in sa.inspect(connection).get_view_names():
        connection.execute(sa.text(f'DROP VIEW "{view}"'))
    with op.batch_alter_table("resource", schema=None) as batch_op:
        batch_op.drop_constraint("resource_by_key", type_="unique")
    op.create_index("resource_by_key", "resource", ["source", "type", "id"], unique=True)
    op.add_column("listing", sa.Column("runs", sa.Text(), nullable=True))
    op.create_table(
        "kept_page",
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("first"),
    )
