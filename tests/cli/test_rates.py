"""Rates, from one command to the next: what was learned and spent outlives the process."""

from fleetsync.simulator.faults import parse_faults
from tests.cli.bench import Bench

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
