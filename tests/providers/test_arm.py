"""What answers of Azure Resource Manager mean, apart from the service that they are of."""

import pytest

from fleetsync.providers._arm import _state_of

DEEP = 100_000
"""More levels than any stack has room for. Seed 20357 of the simulation found them in the answer to a write."""


@pytest.mark.parametrize("body", [b"", b"null", b"\xff", b"NaN", b"[]", b"{}", b'{"properties":null}'])
def test_an_answer_to_a_write_that_says_nothing_of_its_state_names_none(body: bytes) -> None:
    assert _state_of(body) is None


@pytest.mark.parametrize("before", [b"", b'{"a":', b'{"properties":{"a":'])
def test_an_answer_to_a_write_that_is_too_deep_names_no_state(before: bytes) -> None:
    assert _state_of(before + b"[" * DEEP + b"]" * DEEP) is None
    assert _state_of(before + b'{"a":' * DEEP) is None
