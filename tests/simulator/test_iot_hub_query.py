import json

import pytest

from fleetsync.simulator.iot_hub.query import parse_query
from fleetsync.simulator.iot_hub.query_tokens import QueryError
from tests.simulator.client import HubClient, error_name

ALL = "SELECT * FROM devices"


def ids(rows: list[dict]) -> list[str]:
    return [row["deviceId"] for row in rows]


def sizes(hub: HubClient, **options: int) -> list[int]:
    return [len(page.json()) for page in hub.pages(ALL, **options)]


class TestPages:
    def test_the_rows_are_the_twins_of_all_devices_each_once_and_in_no_order(self, hub) -> None:
        rows = hub.rows()
        assert len(rows) == 60
        assert sorted(ids(rows)) == sorted(hub.cloud.hub.state.registry.ids)
        assert ids(rows) != sorted(ids(rows))
        for row in rows:
            row.pop("configurations", None)
            assert row == hub.twin(row["deviceId"]).json()

    def test_the_hub_grants_what_it_likes_and_a_hundred_by_default(self, make_hub) -> None:
        hub = make_hub(hub_devices=250, hub_page_size=100)
        assert sizes(hub) == sizes(hub, size=1000) == [100, 100, 50]
        assert sizes(hub, size=200, most=1) == [100]
        hub.cloud.hub.queries.page_size = 1000
        assert sizes(hub, size=1000) == [250]
        assert sizes(hub) == [100, 100, 50]

    def test_the_last_page_has_no_continuation_even_when_it_is_full(self, make_hub) -> None:
        assert sizes(make_hub(hub_devices=50)) == [25, 25]
        assert sizes(make_hub(hub_devices=2), size=1) == [1, 1]
        assert sizes(make_hub(hub_devices=0)) == [0]

    def test_a_continuation_is_for_the_same_query_and_page_size(self, hub) -> None:
        first = hub.query(ALL, size=10)
        token = first.headers["x-ms-continuation"]
        assert first.headers["x-ms-item-type"] == "Twin"
        assert hub.query(ALL, size=10, token=token).status == 200
        assert hub.query(ALL, size=11, token=token).status == 400
        assert hub.query(ALL, token=token).status == 400
        assert hub.query(f"{ALL} ", size=10, token=token).status == 400
        assert hub.query(ALL, size=10, token=f"{token}x").status == 400
        assert hub.query(ALL, size=10, token="x").status == 400

    @pytest.mark.parametrize("size", ["0", "-1", "many"])
    def test_a_page_size_is_a_number(self, hub, size: str) -> None:
        assert hub.call("POST", "devices/query", {"query": ALL}, x_ms_max_item_count=size).status == 400

    def test_what_comes_and_goes_meanwhile_moves_no_other_row(self, make_hub) -> None:
        hub = make_hub(index_lag_s=0.0)
        first = hub.query(ALL)
        token = first.headers["x-ms-continuation"]
        seen = ids(first.json())
        for device_id in seen[:5]:
            hub.cloud.hub.delete_device(device_id)
        for number in range(20):
            hub.cloud.hub.add_device(f"new-{number}")
        while token:
            page = hub.query(ALL, token=token)
            seen, token = seen + ids(page.json()), page.headers.get("x-ms-continuation")
        assert len(seen) == len(set(seen))
        assert len([id_ for id_ in seen if not id_.startswith("new-")]) == 60

    def test_a_query_sees_a_write_later_than_a_read(self, hub) -> None:
        hub.device("a", "PUT", {"deviceId": "a"})
        hub.clock.advance(0.9)
        assert "a" not in ids(hub.rows())
        assert hub.twin("a").status == 200
        hub.clock.advance(0.2)
        assert "a" in ids(hub.rows())
        hub.twin("a", "PATCH", {"tags": {"site": "x"}})
        hub.device("a", "DELETE")
        assert hub.twin("a").status == 404
        [row] = hub.rows(f"{ALL} WHERE deviceId = 'a'")
        assert "tags" not in row
        hub.clock.advance(1.1)
        assert hub.rows(f"{ALL} WHERE deviceId = 'a'") == []

    def test_the_same_requests_get_the_same_answers(self, make_hub) -> None:
        assert [[page.json() for page in make_hub().pages(ALL)]] * 2 == [
            [page.json() for page in make_hub().pages(ALL)] for _ in range(2)
        ]


class TestLanguage:
    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            ("deviceId = 'a'", ["a"]),
            ('devices.deviceId = "a"', ["a"]),
            ("DeviceId != 'a' AND STARTSWITH(deviceId, 'b')", ["b", "it's"]),
            ("deviceId = 'it\\'s'", []),
            ("deviceId = 'b\\u0069t\\'s'", ["bit's"]),
            ("tags.n > 1", ["b"]),
            ("tags.n >= 1 and tags.n < 2", ["a"]),
            ("tags.n <> 1", ["b"]),
            ("tags.n = '1'", []),
            ("tags.n = true", []),
            ("tags.flag = true", ["a"]),
            ("tags.[[group]] = 'g'", ["a"]),
            ("is_defined(tags.n)", ["a", "b"]),
            ("IS_DEFINED(tags)", ["a", "b"]),
            ("properties.desired.k.n <= 3.5", ["a"]),
            ("properties.desired.$version > 1 AND STARTSWITH(deviceId, 'a')", ["a"]),
            ("capabilities.iotEdge = false AND deviceId < 'b'", ["a"]),
            ("tags.missing != 1", []),
            ("tags.nothing = null", []),
            ("tags.n = 1 OR tags.n = 2", ["a", "b"]),
            ("deviceId = 'b' OR deviceId = 'a' AND tags.n = 2", ["b"]),
            ("(deviceId = 'b' OR deviceId = 'a') AND tags.n = 1", ["a"]),
            ("NOT IS_DEFINED(tags.n)", ["it's"]),
            ("NOT deviceId = 'a' AND tags.n = 2", ["b"]),
            ("NOT (deviceId = 'a' OR tags.n = 2)", ["it's"]),
            ("ENDSWITH(deviceId, 's')", ["it's"]),
            ("deviceId IN ['a', 'c', 1]", ["a"]),
            ("tags.n NIN [2, 3]", ["a"]),
            ("tags.n IN [true, '1']", []),
            ("properties.desired.$version = properties.reported.$version AND tags.n = 2", ["b"]),
            ("tags.n < properties.desired.k.n", ["a"]),
            ("tags.n = tags.[[group]]", []),
        ],
    )
    def test_a_condition_selects(self, make_hub, where: str, expected: list[str]) -> None:
        hub = make_hub(hub_devices=0, index_lag_s=0.0)
        hub.cloud.hub.add_device(
            "a", {"tags": {"n": 1, "flag": True, "group": "g"}, "properties": {"desired": {"k": {"n": 3}}}}
        )
        hub.cloud.hub.add_device("b", {"tags": {"n": 2}})
        hub.cloud.hub.add_device("bit's")
        expected = ["bit's" if id_ == "it's" else id_ for id_ in expected]
        assert sorted(ids(hub.rows(f"{ALL} WHERE {where}"))) == expected

    def test_columns_come_back_in_camel_case_and_missing_values_do_not(self, make_hub) -> None:
        hub = make_hub(hub_devices=0, index_lag_s=0.0)
        hub.cloud.hub.add_device("a", {"tags": {"site": "x"}})
        hub.cloud.hub.add_device("b")
        answer = hub.query("select DeviceId, tags.site, Status AS state from devices")
        assert answer.headers["x-ms-item-type"] == "Raw"
        assert sorted(answer.json(), key=json.dumps) == [
            {"deviceId": "a", "site": "x", "state": "enabled"},
            {"deviceId": "b", "state": "enabled"},
        ]

    def test_the_first_rows_alone_can_be_asked_for(self, hub) -> None:
        pages = hub.pages("SELECT TOP 30 * FROM devices", size=20)
        assert [len(page.json()) for page in pages] == [20, 10]
        assert len({row["deviceId"] for page in pages for row in page.json()}) == 30
        assert len(hub.rows("SELECT TOP 20 deviceId FROM devices", size=20)) == 20
        assert len(hub.rows("SELECT TOP 99 * FROM devices WHERE status = 'disabled'")) == 2

    def test_rows_can_be_counted_by_group(self, hub) -> None:
        text = "SELECT Status AS state, capabilities.iotEdge, COUNT() AS n FROM devices"
        answer = hub.query(f"{text} GROUP BY status, capabilities.iotEdge")
        assert answer.headers["x-ms-item-type"] == "Raw"
        assert sorted(answer.json(), key=json.dumps) == [
            {"state": "disabled", "iotEdge": False, "n": 2},
            {"state": "enabled", "iotEdge": False, "n": 56},
            {"state": "enabled", "iotEdge": True, "n": 2},
        ]
        assert len(hub.rows("SELECT TOP 1 status, COUNT() AS n FROM devices GROUP BY status")) == 1
        by_site = hub.rows("SELECT tags.site, COUNT() AS n FROM devices GROUP BY tags.site")
        untagged = sum("tags" not in device["twin"] for device in hub.cloud.hub.truth())
        assert {"n": untagged} in by_site
        assert sum(row["n"] for row in by_site) == 60

    def test_rows_can_be_counted(self, hub) -> None:
        assert hub.rows("SELECT COUNT() AS n FROM devices") == [{"n": 60}]
        assert hub.rows("SELECT COUNT() AS edge FROM devices WHERE capabilities.iotEdge = true") == [{"edge": 2}]
        assert hub.rows("SELECT COUNT() AS n FROM devices.modules WHERE moduleId = '$edgeHub'") == [{"n": 2}]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "SELECT",
            "SELECT * FROM devices.jobs",
            "SELECT * FROM twins",
            "SELECT * FROM devices WHERE",
            "SELECT * FROM devices WHERE STARTS_WITH(deviceId, 'a')",
            "SELECT * FROM devices WHERE STARTSWITH(deviceId, 1)",
            "SELECT * FROM devices WHERE deviceId LIKE 'a%'",
            "SELECT * FROM devices WHERE deviceId = 'a' OR",
            "SELECT * FROM devices WHERE (deviceId = 'a'",
            "SELECT * FROM devices WHERE deviceId IN []",
            "SELECT * FROM devices WHERE deviceId IN ('a')",
            "SELECT * FROM devices WHERE deviceId IN [tags.a]",
            "SELECT * FROM devices WHERE ENDSWITH(deviceId, tags.a)",
            "SELECT * FROM devices WHERE deviceId = 'a' NOT",
            f"SELECT * FROM devices WHERE {'(' * 60}deviceId = 'a'{')' * 60}",
            f"SELECT * FROM devices WHERE {'NOT ' * 60}deviceId = 'a'",
            "SELECT * FROM devices WHERE deviceId = 'a",
            "SELECT * FROM devices ORDER BY deviceId",
            "SELECT * FROM devices GROUP BY status",
            "SELECT COUNT() FROM devices",
            "SELECT TOP 0 * FROM devices",
            "SELECT TOP x * FROM devices",
            "SELECT TOP 1 COUNT() AS n FROM devices",
            "SELECT status, COUNT() AS n FROM devices",
            "SELECT status, COUNT() AS n FROM devices GROUP BY deviceId",
            "SELECT status, COUNT() AS n, COUNT() AS m FROM devices GROUP BY status",
            "SELECT tags.group FROM devices",
            "SELECT * FROM devices; DROP",
            f"SELECT * FROM devices WHERE deviceId = '{'x' * 8192}'",
        ],
    )
    def test_anything_else_is_invalid(self, hub, text: str) -> None:
        answer = hub.query(text)
        assert error_name(answer) == (400, "ArgumentInvalid")
        assert "The query is invalid" in answer.json()["Message"]
        with pytest.raises(QueryError):
            parse_query(text)

    def test_a_query_is_a_text_in_an_object(self, hub) -> None:
        assert [hub.call("POST", "devices/query", body).status for body in ({}, {"query": 1}, [], None)] == [400] * 4


class TestFaults:
    def test_empty_and_short_pages_lose_no_row(self, make_hub) -> None:
        hub = make_hub(faults="empty-page@1+3,short-page=0.4@4")
        assert sizes(hub) == [0, 25, 0, 10, 25]
        assert sizes(make_hub(faults="short-page=0@1")) == [0, 25, 25, 10]

    def test_a_scan_can_end_too_early(self, make_hub) -> None:
        assert sizes(make_hub(faults="short-list=0.7")) == [25, 17]
        assert sizes(make_hub(faults="empty-list")) == [0]

    def test_a_scan_can_go_in_circles_or_repeat_itself(self, make_hub) -> None:
        first, second, again = (page.json() for page in make_hub(faults="loop-link@2").pages(ALL, most=3))
        assert second == again != first
        first, _, again = (page.json() for page in make_hub(faults="loop-link=first@2").pages(ALL, most=3))
        assert first == again
        first, second, *_ = (page.json() for page in make_hub(faults="twice@2").pages(ALL))
        assert first[-1] == second[0]

    def test_a_continuation_can_die_for_good_or_be_empty_or_come_without_rows(self, make_hub) -> None:
        hub = make_hub(faults="dead-cursor@2")
        token = hub.query(ALL).headers["x-ms-continuation"]
        assert [hub.query(ALL, token=token).status for _ in range(2)] == [400, 400]
        assert sizes(hub) == [25, 25, 10]
        assert make_hub(faults="null-link").pages(ALL)[-1].headers["x-ms-continuation"] == ""
        assert make_hub(faults="no-value@1").query(ALL).json() == {}

    def test_a_fail_over_is_a_404_that_is_not_about_the_device(self, make_hub) -> None:
        hub = make_hub(faults="read.failing-over@2")
        hub.cloud.hub.add_device("a")
        assert error_name(hub.twin("a")) == (200, None)
        failing = hub.twin("a")
        assert error_name(failing) == (404, "IotHubFailingOver")
        inner = json.loads(failing.json()["Message"])
        assert (inner["errorCode"], failing.json()["ExceptionMessage"]) == (404012, "")
        assert error_name(hub.twin("a")) == (200, None)

    def test_the_faults_of_a_hub_happen_nowhere_else(self, client) -> None:
        client.send("POST", "/_simulator/faults", b"failing-over")
        assert client.call("GET", "devices").status == 200
        assert client.cloud.counters.faults == {}

    @pytest.mark.parametrize(("status", "name"), [(503, "ServiceUnavailable"), (404, "GenericNotFound")])
    def test_an_injected_error_speaks_the_dialect(self, make_hub, status: int, name: str) -> None:
        answer = make_hub(faults=f"status={status}").query(ALL)
        assert error_name(answer) == (status, name)
        assert answer.json()["Message"].startswith(f"ErrorCode:{name};")
