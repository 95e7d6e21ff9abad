"""What `check` says of what is ahead."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from fleetsync.cli import forecasts
from fleetsync.config.quantities import as_duration
from fleetsync.config.settings import DatabaseSettings, LogSettings, Settings
from fleetsync.core.forecast import Forecast
from tests.cli.bench import Bench
from tests.reconcile.rig import HUB


def settings_of(tmp_path: Path, **intervals_s: float) -> Settings:
    sources = {name: replace(HUB, name=name, interval_s=interval_s) for name, interval_s in intervals_s.items()}
    return Settings(
        file=tmp_path / "config.toml",
        declarations=tmp_path,
        database=DatabaseSettings(path=tmp_path / "x.db"),
        log=LogSettings(),
        sources=sources,
    )


def problems(settings: Settings, ahead: Mapping[str, Forecast]) -> list[str]:
    return [one.message for one in forecasts.unkeepable(settings, ahead, settings.sources.values())]


def forecast(seconds: float, cost: int) -> Forecast:
    return Forecast(requests={"query": 100}, seconds=seconds, cost=cost)


def test_an_interval_that_can_be_kept_is_no_problem(tmp_path: Path) -> None:
    assert problems(settings_of(tmp_path, a=3_600.0), {"a": forecast(600.0, 10_000)}) == []
    assert problems(settings_of(tmp_path, a=60.0), {}) == []


def test_an_interval_shorter_than_a_cycle_is_named_with_the_shortest_possible(tmp_path: Path) -> None:
    assert problems(settings_of(tmp_path, a=300.0), {"a": forecast(5_000.0, 0)}) == [
        'source a: an interval of "5m" cannot be kept: a cycle takes 100 requests, about 83 min at the permitted rates;'
        ' the shortest possible is "84m"'
    ]


def test_an_interval_that_costs_more_than_a_day_has_is_named_with_the_shortest_possible(tmp_path: Path) -> None:
    """The budget of an S1 hub at a share of 0.6 is 240,000 messages."""
    [problem] = problems(settings_of(tmp_path, a=600.0), {"a": forecast(300.0, 10_000)})
    assert problem == (
        'source a: an interval of "10m" cannot be kept: 96 cycles a day cost 960000 of the day\'s budget of 240000;'
        ' the shortest possible is "55m"'
    )
    assert problems(settings_of(tmp_path, a=as_duration("55m")), {"a": forecast(300.0, 10_000)}) == []


def test_sources_of_one_scope_share_its_budget(tmp_path: Path) -> None:
    ahead = {"a": forecast(300.0, 10_000), "b": forecast(300.0, 10_000)}
    assert problems(settings_of(tmp_path, a=3_300.0, b=86_100.0), ahead) != []
    assert problems(settings_of(tmp_path, a=3_900.0, b=86_100.0), ahead) == []


def test_where_one_cycle_costs_more_than_a_day_has_no_interval_helps(tmp_path: Path) -> None:
    [problem] = problems(settings_of(tmp_path, a=86_400.0), {"a": forecast(300.0, 250_000)})
    assert "no interval can be kept: one cycle costs 250000 of the day's budget of 240000" in problem


@pytest.mark.parametrize(
    ("seconds", "text"), [(300.0, "5m"), (86_400.0, "1d"), (5_000.0, "84m"), (90.5, "91s"), (7_200.0, "2h")]
)
def test_an_interval_is_written_as_the_configuration_takes_it(seconds: float, text: str) -> None:
    assert forecasts.interval_text(seconds) == text
    assert as_duration(text) >= seconds


def test_check_forecasts_a_cycle_and_refuses_an_interval_that_cannot_be_kept(synced: Bench) -> None:
    fine = synced.json("check")
    synced.config.write_text(synced.config.read_text().replace('list = "1000/s"', 'list = "1/h"'))
    refused = synced.run("check")

    [source] = fine["sources"]
    assert source["forecast"]["requests"] == {"list": 5}
    assert source["forecast"]["cycles_per_day"] == pytest.approx(288.0, abs=1.0)
    assert source["forecast"]["daily"] is None
    assert refused.exit_code == 78
    assert 'the shortest possible is "5h"' in refused.stderr
    assert "a cycle: 5 requests (list 5), about 5 h; 4.7 a day" in refused.stdout


def test_check_forecasts_nothing_before_the_first_listing(bench: Bench) -> None:
    [source] = bench.json("check")["sources"]
    assert source["forecast"] is None
