"""Writes under ETags at IoT Central and IoT Hub: against a rival, against drift, and what is said of the dead."""

from collections.abc import Mapping, Sequence

from fleetsync.cli import output
from fleetsync.cli.demo_stage import CENTRAL, HUB, Stage, title
from fleetsync.reconcile.progress import Progress, Report

_GUARDED = (CENTRAL, HUB)
_TO_BE_WRITTEN = (
    "SELECT DISTINCT resource_id FROM drift WHERE source = '{source}' AND path IN ('organizations', 'tags.reporting')"
    " ORDER BY resource_id LIMIT {most}"
)
_FOUGHT_OVER = (
    "SELECT source, resource_id, attempt, guard, status, outcome FROM writes WHERE EXISTS (SELECT 1 FROM writes w"
    " WHERE w.source = writes.source AND w.resource_id = writes.resource_id AND w.outcome = 'conflict')"
    " ORDER BY source, resource_id, id"
)
_WRITTEN = "SELECT DISTINCT resource_id FROM writes WHERE source = '{}' AND outcome = 'applied' ORDER BY 1 LIMIT 1"
_DRIFT = (
    "SELECT source, resource_id, path, actual, declared, state FROM drift"
    " WHERE source IN ('central', 'hub') ORDER BY source"
)
_HAPPENED = "SELECT source, resource_id, event FROM history WHERE event IN ('gone', 'replaced') ORDER BY source, event"
_GONE = "SELECT source, id, gone_reason FROM resources WHERE gone_at IS NOT NULL ORDER BY source"
_RENAMED = "Renamed by the operator"
_NOTE = "written by the operator"
_RIVALS = 2


async def plan_and_apply(stage: Stage) -> None:
    """Write what is declared while somebody else edits the same devices."""
    title("3. Plan and apply what the declarations want, each write under its ETag")
    output.line(f'   meanwhile an "operator" edits {_RIVALS} of the same devices of each, after we looked')
    rivals = {source: stage.column(_TO_BE_WRITTEN.format(source=source, most=_RIVALS)) for source in _GUARDED}
    finished = await stage.cycles(_GUARDED, write=True, watch=_interference(stage, rivals))
    for done in finished.values():
        stage.show_plan(done)
    output.table(*stage.answer(_FOUGHT_OVER))
    both, all_of_them = _with_both_edits(stage, rivals), sum(map(len, rivals.values()))
    output.line(f"   412, read again, decided again: both edits are there on {both} of {all_of_them}")


async def heal(stage: Stage) -> str:
    """Let declared values be changed and mend them; return the id of the hub's device."""
    title("4. Somebody changes declared values: drift, and it heals")
    organized, tagged = (stage.column(_WRITTEN.format(source))[0] for source in _GUARDED)
    stage.cloud.operator_edit(organized, {"organizations": ["oslo"]})
    stage.cloud.hub.operator_edit(tagged, {"properties": {"desired": {"telemetry": {"intervalS": 1}}}})
    await _wait_for_the_index(stage)
    await stage.cycles(_GUARDED, write=False)
    output.table(*stage.answer(_DRIFT))
    healed = await stage.cycles(_GUARDED, write=True)
    output.line(f"   {sum(done.counts.applied for done in healed.values())} written")
    writes, reads = _writes(stage), _twin_reads(stage)
    await stage.cycles(_GUARDED, write=True)
    output.line(f"   the next cycle writes {_writes(stage) - writes}")
    if _twin_reads(stage) > reads:
        output.line(
            "   although the hub's queries still showed the old value: the twin was read, the query not believed"
        )
    return tagged


async def bury(stage: Stage) -> str:
    """Let devices be deleted and one be made anew; return the id of that one."""
    title("5. Devices are deleted, and one is made again under its id: gone and replaced, never without a proof")
    stage.cloud.delete_device(str(stage.cloud.truth()[-1]["id"]))
    plain = [str(one["twin"]["deviceId"]) for one in stage.cloud.hub.truth() if not one["modules"]]
    deleted, replaced = plain[-2:]
    stage.cloud.hub.delete_device(deleted)
    stage.cloud.hub.recreate_device(replaced, {"tags": {"site": "oslo"}})
    await _wait_for_the_index(stage)
    await stage.cycles(_GUARDED, write=False)
    output.table(*stage.answer(_HAPPENED))
    output.table(*stage.answer(_GONE))
    return replaced


def _interference(stage: Stage, rivals: Mapping[str, Sequence[str]]) -> Report:
    """Return what watches a cycle and edits devices while the last list is read: they were looked at before."""
    last = {source: f"listing {stage.parts[source].settings.kind.types[-1].type}" for source in _GUARDED}
    waiting = dict(rivals)

    def watch(step: Progress) -> None:
        if step.step == last[step.source]:
            for id in waiting.pop(step.source, ()):
                if step.source == HUB:
                    stage.cloud.hub.operator_edit(id, {"tags": {"note": _NOTE}})
                else:
                    stage.cloud.operator_edit(id, {"displayName": _RENAMED})

    return watch


def _with_both_edits(stage: Stage, rivals: Mapping[str, Sequence[str]]) -> int:
    documents = (one for one in stage.cloud.truth() if one["id"] in rivals[CENTRAL])
    devices = [one for one in documents if (one["displayName"], one["organizations"]) == (_RENAMED, ["europe"])]
    tags = [one["twin"]["tags"] for one in stage.cloud.hub.truth() if one["twin"]["deviceId"] in rivals[HUB]]
    twins = [one for one in tags if (one.get("note"), one.get("reporting")) == (_NOTE, "every minute")]
    return len(devices) + len(twins)


async def _wait_for_the_index(stage: Stage) -> None:
    lag_s = stage.cloud.options.index_lag_s
    output.line(f"   the hub's queries see a write {lag_s:g} s later")
    await stage.clock.sleep(lag_s)


def _writes(stage: Stage) -> int:
    return stage.cloud.counters.by_kind.get("write", 0)


def _twin_reads(stage: Stage) -> int:
    return stage.cloud.counters.limits["iot-hub.twin_read"].requests
