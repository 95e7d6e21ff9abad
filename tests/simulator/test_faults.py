import gzip
from email.utils import parsedate_to_datetime

import pytest

from fleetsync.simulator import SimulatorError, parse_faults
from fleetsync.simulator.faults import _RULES
from fleetsync.simulator.faults import __doc__ as table
from tests.simulator.client import Client, next_target


def statuses(client: Client, count: int) -> list[int]:
    return [client.call("GET", "organizations").status for _ in range(count)]


class TestWhen:
    def test_an_ordinal_means_that_request_alone(self, make) -> None:
        assert statuses(make(faults="status=503@3"), 5) == [200, 200, 503, 200, 200]

    def test_ordinals_can_be_listed_and_spanned(self, make) -> None:
        assert statuses(make(faults="status=500@1+3-4+6-"), 7) == [500, 200, 500, 500, 200, 500, 500]

    def test_a_probability_is_kept_and_repeats_with_the_seed(self, make) -> None:
        first, second = (statuses(make(faults="status=503:0.2"), 500) for _ in range(2))
        assert first == second
        assert 70 < first.count(503) < 130

    def test_a_kind_narrows_a_fault_and_its_count(self, make) -> None:
        client = make(faults="write.status=503@1,read.status=500@2")
        assert statuses(client, 3) == [200] * 3
        assert [client.device(client.some_id()).status for _ in range(3)] == [200, 500, 200]
        assert client.device(client.some_id(), "PATCH", {"enabled": True}).status == 503

    def test_setting_faults_again_begins_the_count_anew(self, client: Client) -> None:
        for _ in range(2):
            assert client.send("POST", "/_simulator/faults", b"status=503@2").json() == {"faults_set": ["status=503@2"]}
            assert statuses(client, 3) == [200, 503, 200]
        client.send("POST", "/_simulator/faults", b"")
        assert client.cloud.faults == ()

    def test_the_books_name_the_faults(self, make) -> None:
        client = make(faults="status=503@2")
        statuses(client, 2)
        assert client.cloud.counters.faults == {"status": 1}
        assert [line.faults for line in client.cloud.log()] == [(), ("status",)]


class TestParsing:
    def test_a_url_keeps_its_port(self) -> None:
        [redirect, foreign] = parse_faults("redirect=http://127.0.0.1:1234, foreign-link=http://[::1]:80/x@2")
        assert (redirect.argument, redirect.probability) == ("http://127.0.0.1:1234", 1)
        assert (foreign.argument, foreign.ordinals) == ("http://[::1]:80/x", (range(2, 3),))

    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ("statsu=503", 'did you mean "status"'),
            ("status", "needs an argument"),
            ("status=9000", "argument"),
            ("reset=1", "argument"),
            ("latency=fast", "argument"),
            ("foreign-link=nowhere", "argument"),
            ("short-list=7", "argument"),
            ("reset@", "is not like"),
            ("reset@1-x", "is not like"),
            ("reset@1++2", "ordinals"),
            ("write.empty-list", "cannot happen"),
            ("weird.reset", "cannot happen"),
            ("Reset", "is not like"),
        ],
    )
    def test_a_bad_specification_is_named(self, spec: str, said: str) -> None:
        with pytest.raises(SimulatorError, match=said) as caught:
            parse_faults(f"html:0.5,{spec}")
        assert f'"{spec}"' in str(caught.value)

    def test_over_http_it_is_a_400(self, client: Client) -> None:
        answer = client.send("POST", "/_simulator/faults", b"statsu=503")
        assert answer.status == 400
        assert "statsu" in answer.json()["error"]

    def test_every_fault_is_in_the_table(self) -> None:
        assert table is not None
        assert [
            name for name in _RULES if f"{name} " not in table and f"{name}=" not in table and f"{name}," not in table
        ] == []


class TestInstead:
    @pytest.mark.parametrize("fault", ["status=500", "retry-after=2", "redirect=http://127.0.0.1:1", "reset-before"])
    def test_the_request_is_not_carried_out(self, make, fault: str) -> None:
        client = make(faults=fault)
        client.device(client.some_id(), "PATCH", {"displayName": "changed"})
        client.cloud.faults = ()
        assert client.device(client.some_id()).json()["displayName"] != "changed"
        assert client.cloud.counters.writes_applied == 0

    def test_retry_after_is_sent_as_it_is(self, make) -> None:
        answer = make(faults="retry-after=soon").call("GET", "devices")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "soon")

    def test_retry_after_can_be_a_date(self, make) -> None:
        client = make(faults="retry-after=date+30")
        header = client.call("GET", "devices").headers["Retry-After"]
        assert parsedate_to_datetime(header).timestamp() == client.clock() + 30

    def test_retry_after_goes_with_another_status_when_both_happen(self, make) -> None:
        answer = make(faults="retry-after=3,status=503").call("GET", "devices")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "3")

    def test_a_redirect_leads_elsewhere(self, make) -> None:
        answer = make(faults="redirect=http://127.0.0.1:1/x").call("GET", "devices")
        assert (answer.status, answer.headers["Location"]) == (307, "http://127.0.0.1:1/x")


class TestAfter:
    @pytest.mark.parametrize("fault", ["reset", "status-after=500", "truncate", "html", "null", "empty-body"])
    def test_the_request_was_carried_out(self, make, fault: str) -> None:
        client = make(faults=fault)
        client.device(client.some_id(), "PATCH", {"displayName": "changed"})
        client.cloud.faults = ()
        assert client.device(client.some_id()).json()["displayName"] == "changed"
        assert client.cloud.counters.writes_applied == 1

    @pytest.mark.parametrize(("fault", "lost"), [("reset", True), ("truncate", True), ("html", False)])
    def test_the_books_tell_whether_the_answer_was_lost(self, make, fault: str, lost: bool) -> None:
        client = make(faults=fault)
        client.device(client.some_id(), "PATCH", {"displayName": "changed"})
        assert client.cloud.counters.writes[0].lost is lost
        assert client.cloud.log()[0].lost is lost

    @pytest.mark.parametrize(
        ("fault", "body"),
        [("null", b"null"), ("array", b"[]"), ("empty-body", b""), ("nan", b'{"value":[NaN],"id":NaN}')],
    )
    def test_the_body_is_another_one(self, make, fault: str, body: bytes) -> None:
        answer = make(faults=fault).call("GET", "devices")
        assert (answer.status, answer.body) == (200, body)

    def test_html_says_that_it_is_html(self, make) -> None:
        assert make(faults="html").call("GET", "devices").headers["Content-Type"].startswith("text/html")

    def test_bodies_can_be_big_slow_cut_and_compressed(self, make) -> None:
        assert len(make(faults="big-body=1MB").call("GET", "organizations").body) == 1_000_000
        assert make(faults="slow-body=2s").call("GET", "organizations").pace_s == 2
        assert make(faults="truncate=7").call("GET", "organizations").truncate_at == 7
        packed = make(faults="zip-body=1MB").call("GET", "organizations")
        assert packed.headers["Content-Encoding"] == "gzip"
        assert len(gzip.decompress(packed.body)) == 1_000_000 > 100 * len(packed.body)

    def test_latency_is_added(self, make) -> None:
        assert make(faults="latency=800ms", latency_s=0.2).call("GET", "devices").delay_s == pytest.approx(1.0)


class TestLists:
    def test_an_empty_page_loses_no_device(self, make) -> None:
        client = make(faults="empty-page@1+3")
        assert [len(page["value"]) for page in client.pages()] == [0, 25, 0, 25, 10]
        client.cloud.faults = parse_faults("empty-page@1+3")
        assert len(set(client.ids())) == 60

    def test_a_list_can_go_on_forever_with_ever_new_links(self, make) -> None:
        pages = make(faults="empty-page").pages(most=30)
        assert len({page["nextLink"] for page in pages}) == 30

    def test_an_empty_list_is_no_error(self, make) -> None:
        assert make(faults="empty-list").pages() == [{"value": []}]

    def test_a_short_list_ends_without_a_link(self, make) -> None:
        assert len(make(faults="short-list=0.7").ids()) == 42
        assert len(make(faults="short-list=0.7@2").ids()) == 42

    def test_a_link_can_repeat_itself(self, make) -> None:
        client = make(faults="loop-link@2")
        first, second, again, *_ = client.pages()
        assert first["nextLink"] == second["nextLink"]
        assert second["value"] == again["value"]

    def test_a_link_can_lead_back_to_the_start(self, make) -> None:
        first, _, again, *_ = make(faults="loop-link=first@2").pages()
        assert first["value"] == again["value"]
        assert first["nextLink"] == again["nextLink"]

    def test_a_link_can_lead_elsewhere(self, make) -> None:
        pages = make(faults="foreign-link=http://127.0.0.1:1234@2").pages()
        assert [page["nextLink"].startswith("http://127.0.0.1:1234/api/devices?") for page in pages[:2]] == [
            False,
            True,
        ]

    def test_a_dead_link_stays_dead_but_a_new_listing_works(self, make) -> None:
        client = make(faults="dead-cursor@2")
        target = next_target(client.send("GET", client.first_target()).json())
        assert target is not None
        assert [client.send("GET", target).status for _ in range(3)] == [400] * 3
        assert len(client.ids()) == 60

    def test_members_can_be_missing_null_or_twice(self, make) -> None:
        assert "value" not in make(faults="no-value@1").pages(most=1)[0]
        assert make(faults="null-link").pages()[-1]["nextLink"] is None
        ids = make(faults="twice@2").ids()
        assert (len(ids), len(set(ids))) == (61, 60)
