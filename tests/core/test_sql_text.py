"""What can be said of a selector by its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.core.sql_text import Token, fault_in, own_names, quoted_names, reads_elsewhere, tokens


@pytest.mark.parametrize(
    "where",
    [
        "enabled",
        "tags ->> 'site' = 'oslo' AND enabled",
        "tags -> 'k' = '21'",
        "CAST(tags ->> 'n' AS numeric) > 21.5e3",
        "last_activity_at < ago('30 days')",
        "display_name = 'it''s; -- no /* comment */ ? : @ $ ` # \\ ('",
        '"id" = \'x\' OR ("enabled")',
        "id IN (SELECT id FROM devices WHERE source = 'other')",
        "display_name = 'æ 温度計'",
        "(\nenabled\n)",
    ],
)
def test_a_portable_selector_has_no_fault(where: str) -> None:
    assert fault_in(where) is None


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("", "empty selector"),
        (" \n\t", "empty selector"),
        ("enabled -- and more", "comments"),
        ("enabled /* and more", "comments"),
        ("enabled /* and */ AND 1", "comments"),
        ("enabled; DELETE FROM resource", "semicolon"),
        ("enabled) OR (enabled", "closed that was not opened"),
        ("1) UNION SELECT 1 WHERE (1", "closed that was not opened"),
        ("(enabled", "not closed"),
        ("enabled)", "closed that was not opened"),
        ("id = ?", "'?'"),
        ("id = :x", "':'"),
        ("id = @x", "'@'"),
        ("id = $x", "'$'"),
        ("id = `x`", "'`x`'"),
        ("id = `x", "'`'"),
        ("[id] = 'x'", "'[id]'"),
        ("id = #x", "'#'"),
        ("id = \\x", "does not belong"),
        ("id = 'x", "quote is not closed"),
        ('id = "x', "quote is not closed"),
        ("id = 'x''", "quote is not closed"),
    ],
)
def test_what_could_leave_its_brackets_is_refused(where: str, reason: str) -> None:
    assert reason in (fault_in(where) or "")


@given(st.text("()'\"-/* ;a1\n", max_size=12))
def test_what_has_no_fault_stays_inside_its_brackets(where: str) -> None:
    if fault_in(where) is not None:
        return
    depths, depth = [], 0
    for token in tokens(f"(\n{where}\n)"):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        depths.append(depth)
    assert depths[-1] == 0
    assert all(depth > 0 for depth in depths[:-1])


def test_sql_falls_apart_into_words() -> None:
    assert list(tokens("a.b='x''y' AND \"q\"\"r\" /* c */ > 1e5 -- end\n[z]")) == [
        Token("name", "a"), Token("mark", "."), Token("name", "b"), Token("mark", "="), Token("string", "'x''y'"),
        Token("name", "AND"), Token("quoted", '"q""r"'), Token("comment", "/* c */"), Token("mark", ">"),
        Token("number", "1e5"), Token("comment", "-- end"), Token("bracketed", "[z]"),
    ]  # fmt: skip


def test_names_in_double_quotes_are_found() -> None:
    assert quoted_names('"a" = \'"no"\' AND "b""c" > 1') == ("a", 'b"c')


@pytest.mark.parametrize(
    ("where", "reads"),
    [
        ("id IN (SELECT id FROM devices)", True),
        ("id IN (select id FROM devices)", True),
        ("id IN (VALUES ('a'))", True),
        ("id = 'SELECT'", False),
        ('"select" = 1', False),
        ("selected = 1", False),
    ],
)
def test_a_sub_query_reads_elsewhere(where: str, reads: bool) -> None:
    assert reads_elsewhere(where) is reads


@pytest.mark.parametrize(
    "sql",
    [
        "WITH devices AS (SELECT 1) SELECT 1",
        "WITH devices(a, b) AS (SELECT 1) SELECT 1",
        "with recursive x AS (SELECT 1), Devices as materialized (SELECT 1) SELECT 1",
        'WITH "devices" AS NOT MATERIALIZED (SELECT 1) SELECT 1',
        "WITH [devices] AS (SELECT 1) SELECT 1",
        "WITH `devices` AS (SELECT 1) SELECT 1",
        "WITH 'devices' AS (SELECT 1) SELECT 1",
        "WITH devices /* ' */ AS -- (\n (SELECT 1) SELECT 1",
    ],
)
def test_a_statement_that_calls_a_query_of_its_own_like_a_view_is_seen(sql: str) -> None:
    assert "devices" in own_names(sql)


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM devices AS d", "SELECT * FROM devices, devices AS e WHERE id = 'devices AS ('", "devices"]
)
def test_a_statement_that_only_reads_a_view_has_no_query_of_that_name(sql: str) -> None:
    assert "devices" not in own_names(sql)
