from pathlib import Path

from fleetsync.config.load import load
from fleetsync.config.settings import SourceSettings
from fleetsync.core.bucket import Rate
from fleetsync.providers.base import all_kinds
from fleetsync.wiring.rates import budget_of, budgets_of, limiters_of
from tests.fakes.clock import FakeClock


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
