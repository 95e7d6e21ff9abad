"""Every target, with what Hypothesis makes of real answers: other values, lost and doubled members, cut and bent bytes."""

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        ["", "\0", "\ud800", "\x1b[31m", "a\n<2>b", "..", 'W/"x"', "*", '"', "9" * 400, "https://evil.net/x"]
    ),
    st.sampled_from(
        [0, -1, 2**63, 2**64, 10**400, 1e308, -0.0, [], {}, [[]], [None], {"": {}}, float("nan"), float("inf")]
    ),
    st.text(max_size=12),
    st.integers(),
)
LITERAL = st.sampled_from(
    [b"1e999", b'"\\ud800"', b'"\\u0000"', b"NaN", b"[" * 3000, b'{"a":1,"a":2}', b"\xff", b"", b"\0"]
)


def places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where values are in a document."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


def bent(draw: Any, body: bytes) -> bytes:
    """Return a document with one or two values changed, taken out or put somewhere else, or its bytes bent."""
    try:
        document = json.loads(body)
    except ValueError:
        document = body.decode("latin-1")
    for _ in range(draw(st.integers(1, 2))):
        inside = places(document)[1:]
        if not inside:
            document = {"value": document}
            continue
        *above, last = draw(st.sampled_from(inside))
        node = document
        for key in above:
            node = node[key]
        match draw(st.integers(0, 3)):
            case 0 if isinstance(node, dict):
                node.pop(last, None)
            case 1:
                node[last] = [node[last], node[last]] if not isinstance(node, dict) or last in node else 0
            case 2 if isinstance(node, dict):
                node[draw(st.text(max_size=5))] = node.get(last)
            case _:
                node[last] = copy.deepcopy(draw(ODD))
    text = json.dumps(document).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(LITERAL | st.binary(max_size=4)) + text[at + draw(st.integers(0, 3)) :]
    return text


@st.composite
def inputs(draw: Any, name: str) -> bytes:
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))  # type: ignore[no-any-return]
    seed = draw(st.sampled_from(seeds(name)))
    if name == "answers":  # sometimes the answer to another question
        other = draw(st.sampled_from(seeds(name))) if draw(st.integers(0, 4)) == 0 else seed
        return bytes(seed[:2]) + bent(draw, other[2:])
    if name == "refusals":
        head, _, body = seed.partition(b"\n")
        return head[:1] + draw(st.just(head[1:]) | st.binary(max_size=30)) + b"\n" + bent(draw, body)
    if name == "merge_patch":
        return b"\n".join(bent(draw, part) for part in seed.split(b"\n"))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(seed)))
        seed = seed[:at] + draw(LITERAL | st.binary(max_size=4)) + seed[at + draw(st.integers(0, 12)) :]
    return seed


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_pass(name: str) -> None:
    for seed in seeds(name):
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes(name: str) -> None:
    @settings(max_examples=1500 if name == "answers" else 300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(inputs(name))
    def holds(data: bytes) -> None:
        TARGETS[name](data)

    holds()
