"""What can be stored by every engine, and what must not be."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.core.document import fault_in, parsable, without_secrets

ANY_TEXT = st.text(st.characters(), max_size=8) | st.text("\\u0dc8\ud800\udc00\0\U0001f600", max_size=8)


@pytest.mark.parametrize(
    "text",
    [r"\u0000", r"a\u0000b", r"\ud800", r"\uD800\u0041", r"\u0041\udc00", r"\uDFFF", r"\ud83d\ud83d\ude00",
     r"\ude00\ud83d", r"\\\u0000", r"\ud83d", r"\ud83d\\ude00"],
)  # fmt: skip
def test_nul_and_lone_surrogates_cannot_be_stored(text: str) -> None:
    assert fault_in(b'{"name":"%b"}' % text.encode())


@pytest.mark.parametrize(
    "text", [r"\\u0000", r"\\ud800", r"\ud83d\ude00", r"\uD83D\uDE00\ud83d\ude00", "é", r"\u00e9", ""]
)
def test_everything_else_can_be_stored(text: str) -> None:
    document = b'{"name":"%b"}' % text.encode()
    assert fault_in(document) is None
    assert parsable(document) == document


def test_what_is_not_utf8_cannot_be_stored() -> None:
    assert fault_in(b'{"name":"\xff"}') == "it is not UTF-8"
    assert fault_in(b'{"name":"\xed\xa0\x80"}') == "it is not UTF-8"


@given(ANY_TEXT, st.booleans())
def test_a_fault_is_found_exactly_where_a_text_holds_one(text: str, is_escaped: bool) -> None:
    # Two halves that meet are a pair in JSON's escapes, and no character in UTF-8.
    meant = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if is_escaped else text
    is_faulty = "\0" in meant or any(0xD800 <= ord(char) <= 0xDFFF for char in meant)
    document = json.dumps({"a": text, "b": 1}, ensure_ascii=is_escaped).encode(errors="surrogatepass")
    assert (fault_in(document) is not None) == is_faulty


@given(ANY_TEXT)
def test_a_page_with_anything_in_it_can_be_parsed_and_still_shows_its_fault(text: str) -> None:
    body = json.dumps([text, "fine"]).encode()
    mended = parsable(body)
    assert len(mended) == len(body)
    assert (fault_in(mended) is None) == (fault_in(body) is None)
    assert json.loads(mended)[1] == "fine"
    json.loads(mended)[0].encode()


KEYS = (("a", "key"), ("a", "b", "key"), ("top",))


def test_secrets_are_taken_out_and_nothing_else() -> None:
    document = b'{"id": "x", "top": 1, "a": {"key": "s3cret", "b": {"key": "s3cret", "c": [1.50]}}, "n": null}'
    left = without_secrets(document, KEYS)
    assert b"s3cret" not in left
    assert json.loads(left) == {"id": "x", "a": {"b": {"c": [1.5]}}, "n": None}


@pytest.mark.parametrize(
    "document", [b'{"id": "x"}', b'{"a": [{"key": 1}]}', b'{"a": {"b": "key"}, "e": 1.50 }', b"[]", b"null", b'"a"']
)
def test_a_document_without_secrets_stays_byte_for_byte(document: bytes) -> None:
    assert without_secrets(document, KEYS) == document


@pytest.mark.parametrize("number", [b"1e400", b"-1E+999", b"9" * 400 + b".5", b"9" * 5000])
def test_a_number_that_no_double_holds_cannot_be_stored(number: bytes) -> None:
    assert fault_in(b'{"id":1,"n":[%b]}' % number) == "a number in it is too large"


@pytest.mark.parametrize("number", [b"1e308", b"1e-999", b"9" * 30, b'"1e999"'])
def test_other_numbers_can(number: bytes) -> None:
    assert fault_in(b'{"n":%b}' % number) is None
