import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.transport.fault import Fault, fault_of, shown


def fault(document, **headers):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return fault_of({name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("document", "code", "message", "request_id"),
    [
        ({"error": {"code": "NotFound", "message": "no", "requestId": "r1"}}, "NotFound", "no", "r1"),
        ({"error": {"code": "NotFound"}}, "NotFound", "", None),
        ({"code": 400016, "httpStatusCode": "BadRequest", "message": "no"}, "400016", "no", None),
        (
            {"Message": "ErrorCode:DeviceNotFound;E1: no", "ExceptionMessage": "Tracking"},
            "DeviceNotFound",
            "E1: no",
            None,
        ),
        ({"Message": "ErrorCode:DeviceNotFound", "ExceptionMessage": ""}, "DeviceNotFound", "", None),
        ({"Message": '{"errorCode":404103,"message":"no"}', "ExceptionMessage": ""}, "404103", "no", None),
        ({"Message": "something else", "ExceptionMessage": ""}, None, "something else", None),
        ({"errorCode": 1000, "title": "Not Found", "status": 404, "detail": "no dev1"}, "1000", "no dev1", None),
        ([{"ErrorCode": "Missing", "Title": "no"}], "Missing", "no", None),
    ],
)
def test_every_services_own_shape_is_read(document, code, message, request_id):
    assert fault(document) == Fault(code=code, message=message, request_id=request_id)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"<html><body>404 Not Found</body></html>",
        b"[]",
        b"\xff",
        b"[" * 5000,
        {},
        {"error": "invalid_client", "error_description": "no"},
        {"error": {}},
        {"error": {"message": {}}},
        {"code": "NotFound"},
        {"message": "not found"},
        {"Message": "Service unavailable"},
        {"id": "dev1", "code": True, "message": "x"},
        {"value": [], "nextLink": None},
    ],
)
def test_an_answer_in_other_words_says_nothing(document):
    assert fault(document) is None


def test_a_code_in_the_headers_goes_before_the_one_in_the_body():
    hub = {"Message": "ErrorCode:Other;no", "ExceptionMessage": ""}
    assert fault(hub, iothub_errorcode="DeviceNotFound").code == "DeviceNotFound"
    assert fault({"error": {"code": "b", "message": "m"}}, x_ms_error_code="a", x_ms_request_id="r").request_id == "r"


def test_headers_alone_prove_nothing():
    assert fault(b"", x_ms_error_code="NotFound") is None


def test_remote_text_is_one_line_harmless_and_short():
    assert shown("a\r\nb\x1b[31m\x00\u202e\ud800") == r"a\r\nb\x1b[31m\x00\u202e\ud800"
    assert shown("é😀") == "é😀"
    assert len(shown("x" * 300)) == len(shown("\n" * 300)) == 256
    assert shown("x" * 256) == "x" * 256


@given(st.text())
def test_no_remote_text_can_steer_a_terminal(text):
    assert shown(text).isprintable()
    assert len(shown(text)) <= 256


@given(st.binary())
def test_no_body_is_too_strange(body):
    fault_of({}, body)
    fault_of({}, b'{"error": ' + body + b"}")
