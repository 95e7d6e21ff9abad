import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.transport.retry_after import next_day_s, retry_after_s

NOW = datetime.datetime(2026, 11, 21, 18, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("17", 17.0),
        (" 17 ", 17.0),
        ("1.5", 1.5),
        ("0", 1.0),
        ("-5", 1.0),
        ("", 1.0),
        ("soon", 1.0),
        ("nan", 1.0),
        ("1e9", 1.0),
        ("\u0661\u0667", 1.0),
        ("86400", 3600.0),
        ("9" * 5000, 3600.0),
        ("Sat, 21 Nov 2026 18:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 18:00:30 -0000", 30.0),
        ("Sat, 21 Nov 2026 17:00:00 GMT", 1.0),
        ("Sat, 21 Nov 2099 17:00:00 GMT", 3600.0),
        ("Sat, 99 Nov 2026 18:00:30 GMT", 1.0),
    ],
)
def test_seconds_and_dates_are_read_within_bounds_and_junk_is_a_second(text, seconds):
    assert retry_after_s({"retry-after": text}, NOW) == seconds


def test_without_the_header_nothing_is_asked():
    assert retry_after_s({}, NOW) is None


def test_a_date_is_compared_with_the_services_own_clock():
    headers = {"retry-after": "Sun, 22 Nov 2026 09:00:30 GMT", "date": "Sun, 22 Nov 2026 09:00:00 GMT"}
    assert retry_after_s(headers, NOW) == 30.0


def test_a_junk_date_header_does_not_count():
    headers = {"retry-after": "Sat, 21 Nov 2026 18:00:30 GMT", "date": "today"}
    assert retry_after_s(headers, NOW) == 30.0


def test_a_day_of_utc_ends_at_midnight_of_the_services_clock():
    assert next_day_s({}, NOW) == 6 * 3600.0
    assert next_day_s({"date": "Sun, 22 Nov 2026 23:59:59 GMT"}, NOW) == 1.0
    assert next_day_s({"date": "Sun, 22 Nov 2026 23:59:59 +0200"}, NOW) == 7201.0


@given(st.text(), st.text())
def test_no_header_is_too_strange(text, date):
    seconds = retry_after_s({"retry-after": text, "date": date}, NOW)
    assert seconds is not None
    assert 1.0 <= seconds <= 3600.0
