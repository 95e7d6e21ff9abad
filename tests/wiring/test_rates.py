from pathlib import Path

import pytest

from fleetsync.config.load import load
from fleetsync.config.settings import SourceSettings
from fleetsync.core.bucket import Rate, rate_of
from fleetsync.errors import ConfigError
from fleetsync.providers.base import all_kinds
from fleetsync.wiring.rates import budget_of, budgets_of, limiters_of
from tests.fakes.clock import FakeClock


def hub(folder: Path, text: str = "") -> SourceSettings:
    """Return a source whose quota follows from keys of its own."""
    file = folder / "config.toml"
    file.write_text(f'[sources.hub]\nkind = "iot-hub"\nurl = "http://127.0.0.1"\nauth.method = "none"\n{text}')
    return load(file, all_kinds()).sources["hub"]


def sources(folder: Path, **rates: str) -> list[SourceSettings]:
    """Return one source for each rate table, all of one application."""
    file = folder / "config.toml"
    file.write_text(
        "".join(
            f'[sources.{name}]\nkind = "iot-central"\nurl = "https://contoso.azureiotcentral.com"\n'
            f'auth.method = "managed-identity"\nrate = {{ {rate} }}\n'
            for name, rate in rates.items()
        )
    )
    return list(load(file, all_kinds()).sources.values())


def test_a_share_of_the_quota_is_one_budget_for_all_classes(tmp_path: Path) -> None:
    (one,) = sources(tmp_path, a="share = 0.6")
    budget = budget_of(one)
    assert budget.total == Rate(per_s=12.0, burst=1.2)
    assert dict(budget.classes) == {"list": None, "read": None, "write": None}


def test_an_explicit_rate_takes_its_class_out_of_the_share(tmp_path: Path) -> None:
    (one,) = sources(tmp_path, a='write = "5/s burst 3"')
    assert budget_of(one).classes["write"] == Rate(per_s=5.0, burst=3.0)
    assert budget_of(one).classes["list"] is None


def test_sources_of_one_application_share_the_more_cautious_budget(tmp_path: Path) -> None:
    both = sources(tmp_path, a="share = 0.9", b="share = 0.3")
    assert [budget.total for budget in budgets_of(both).values()] == [Rate(per_s=6.0, burst=1.0)]
    assert len(limiters_of(both, FakeClock())) == 1


def test_the_quota_follows_from_the_keys_of_the_kind(tmp_path: Path) -> None:
    budget = budget_of(hub(tmp_path, 'tier = "S3"\nunits = 2\nrate.share = 0.5\n'))
    assert budget.total is None
    assert budget.classes["twin_write"] == rate_of(250.0)
    assert budget.classes["query"] == rate_of(2_000 / 60 / 2)
    assert budget.daily == 300_000_000


def test_a_daily_figure_of_its_own_replaces_the_share_of_the_documented_one(tmp_path: Path) -> None:
    assert budget_of(hub(tmp_path)).daily == 240_000
    assert budget_of(hub(tmp_path, "rate.daily = 5_000\n")).daily == 5_000


def test_the_classes_have_their_names_also_where_the_keys_of_the_kind_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        hub(tmp_path, 'units = "many"\nrate.twin_raed = "1/s"\n')
    first, second = sorted(problem.message for problem in caught.value.problems)
    assert "did you mean `twin_read`?" in first + second
    assert "`units`" in first + second
