"""Rates, from one command to the next: what was learned and spent outlives the process, and `status` shows it."""

import datetime
import re
import signal
from pathlib import Path

import pytest

from fleetsync.simulator import Options
from fleetsync.simulator.faults import parse_faults
from tests.cli.bench import Bench, served

LONG = "list.retry-after=3000"


def test_a_service_that_wants_nothing_for_an_hour_gets_nothing_from_the_next_command_either(bench: Bench) -> None:
    bench.cloud.faults = parse_faults(LONG)

    first = bench.run("sync")
    sent = bench.requests
    second = bench.run("sync")
    online = bench.run("check", "--online")

    assert (first.exit_code, second.exit_code, online.exit_code) == (75, 75, 75)
    assert "the service refused a request and asked for 3000 s: no requests for" in second.stderr
    assert bench.requests == sent == 1


def test_status_shows_what_was_stored_while_no_daemon_runs(bench: Bench) -> None:
    bench.config.write_text(bench.config.read_text().replace('list = "1000/s"', 'list = "20/s"'))
    bench.cloud.faults = parse_faults(LONG)
    bench.run("sync")

    [source] = bench.json("status")["sources"]
    printed = bench.done("status")

    listing = source["rates"]["list"]
    assert (listing["permitted_per_s"], listing["learned_per_s"]) == (20.0, pytest.approx(14.0, abs=0.2))
    assert (listing["used_60s"], source["live"]) == (None, False)
    held_s = datetime.datetime.fromisoformat(listing["held_until"]) - datetime.datetime.now(datetime.UTC)
    assert 2_900 < held_s.total_seconds() <= 3_001
    assert listing["why"] == "the service refused a request and asked for 3000 s"
    assert source["rates"]["read"]["held_until"] is None
    assert "central: may use list 20/s (for now 14/s); read 1000/s; write 1000/s" in printed
    assert f"central: sends no list until {listing['held_until']}, in 50 min: the service refused" in printed


def test_a_plan_says_what_may_not_be_sent_at_first(synced: Bench) -> None:
    synced.cloud.faults = parse_faults("write.retry-after=3000")
    assert synced.run("apply").exit_code != 0

    printed = synced.done("plan")

    assert "central: sends no write until " in printed
    assert "the service refused a request and asked for 3000 s" in printed


def test_status_asks_the_daemon_what_it_learned_and_sent(bench: Bench) -> None:
    with bench.start("run") as daemon:
        assert daemon.stderr is not None
        while "daemon.started" not in daemon.stderr.readline():
            assert daemon.poll() is None
        bench.done("sync")
        [source] = bench.json("status")["sources"]
        printed = bench.done("status")
        daemon.send_signal(signal.SIGTERM)
        daemon.stderr.read()

    assert source["live"] is True
    assert 5 <= source["rates"]["list"]["used_60s"] <= 10, "with those of the daemon's own cycle, as far as it is"
    assert source["rates"]["write"]["used_60s"] == 0
    assert re.search(r"central: used \d+ list in the last minute", printed)


def test_a_hub_shows_what_a_day_has_cost_and_a_shared_rate_is_shown_once(tmp_path: Path) -> None:
    with served(Options(kinds=("iot-hub",), hub_devices=30, hub_page_size=10, index_lag_s=0.0)) as cloud:
        bench = Bench(folder=tmp_path, cloud=cloud)
        bench.config.write_text(
            f'[sources.hub]\nkind = "iot-hub"\nurl = "{cloud.hub_url}"\nresources = ["device"]\n'
            'auth = { method = "none" }\nrate = { query = "1000/s", daily = 1000 }\n'
            '[sources.plant]\nkind = "iot-central"\nurl = "http://127.0.0.1:9"\nauth = { method = "none" }\n'
        )
        bench.done("sync", "hub")
        hub, plant = bench.json("status")["sources"]
        printed = bench.done("status")

        spent = cloud.hub.quota.used(datetime.datetime.now(datetime.UTC).timestamp())
        assert hub["daily"] == {"spent": spent, "budget": 1000}
        assert spent >= 3
        assert plant["daily"] is None
        assert f"hub: spent {spent} today of the day's budget of 1000" in printed
        assert "plant: may use list, read, write 12/s in all" in printed
