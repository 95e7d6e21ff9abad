"""Azure Sphere, the old service and the new one: devices are moved, and the two are compared."""

from typing import Final

from fleetsync.cli import output
from fleetsync.cli.demo_stage import CATALOG, TENANT, Stage, title

NOT_YET: Final = """\
SELECT old.id, product.display_name AS product, old_group.display_name AS device_group
  FROM devices old
  LEFT JOIN device_groups old_group ON old_group.source = old.source AND old_group.id = old.group_id
  LEFT JOIN products product ON product.source = old_group.source AND product.id = old_group.product_id
 WHERE old.source = 'tenant'
   AND NOT EXISTS (SELECT 1 FROM devices new WHERE new.source = 'catalog' AND new.id = old.id)
 ORDER BY old.id;
"""
OTHERWISE: Final = """\
SELECT catalogs.display_name AS catalog, product.display_name AS product, old.display_name AS device_group,
       old.os_feed_type AS old_feed, new.os_feed_type AS new_feed,
       old.update_policy AS old_policy, new.update_policy AS new_policy,
       CASE WHEN old.allow_crash_dumps_collection THEN 'Enabled' ELSE 'Disabled' END AS old_dumps,
       new.allow_crash_dumps_collection AS new_dumps
  FROM device_groups old
  JOIN products product ON product.source = old.source AND product.id = old.product_id
  JOIN catalogs ON catalogs.source = 'catalog'
  JOIN device_groups new ON new.source = catalogs.source
   AND new.id = catalogs.id || '/' || lower(product.display_name) || '/' || lower(old.display_name)
 WHERE old.source = 'tenant'
   AND (old.os_feed_type IS DISTINCT FROM new.os_feed_type
        OR old.update_policy IS DISTINCT FROM new.update_policy
        OR CASE WHEN old.allow_crash_dumps_collection THEN 'Enabled' ELSE 'Disabled' END
           IS DISTINCT FROM new.allow_crash_dumps_collection)
 ORDER BY 1, 2, 3;
"""
"""Both stand in the README, word for word."""

_BOTH: Final = (TENANT, CATALOG)
_MOVES: Final = (
    "SELECT source, resource_id, guard, status, outcome,"
    " round((julianday(finished_at) - julianday(started_at)) * 86400, 1) AS seconds"
    " FROM writes WHERE source IN ('tenant', 'catalog') ORDER BY source, id"
)


async def move(stage: Stage) -> None:
    """Move devices to other groups, and follow what the services only began."""
    title("6. Azure Sphere: devices move to other groups, in the old tenant and in the new catalog")
    finished = await stage.cycles(_BOTH, write=True)
    for done in finished.values():
        stage.show_plan(done)
    asked = sum(operation.polls for operation in stage.cloud.arm.operations.all)
    output.line(f"   a move goes on after its answer and is followed to its end; the catalog was asked {asked} times")
    stage.show(*stage.answer(_MOVES))
    again = await stage.cycles(_BOTH, write=False)
    gone = sum(done.counts.gone for done in again.values())
    output.line(f"   in the catalog the path of a device is another one now; {gone} are taken for gone")


def compare(stage: Stage) -> None:
    """Show what the old tenant has that the new catalog has not, and what is set otherwise."""
    title("8. From the old Azure Sphere, which ends on 27 September 2027, to the new one: two questions of the README")
    stage.ask("what is not in the catalog yet", NOT_YET, most=3)
    stage.ask("which groups are set otherwise", OTHERWISE)
