"""How faults change an answer, whatever service gives it."""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate
from typing import TypeAlias

from fleetsync.simulator.faults import Drawn, duration_s, size_bytes
from fleetsync.simulator.wire import SimResponse, json_bytes

Refuse: TypeAlias = Callable[[int, str, str], SimResponse]
"""Makes an error answer in a service's dialect from status, code and message."""

HTML = b"<!DOCTYPE html><html><head><title>Service unavailable</title></head><body>Please wait.</body></html>"

_BODIES: Mapping[str, bytes] = {
    "null": b"null",
    "array": b"[]",
    "empty-body": b"",
    "error-body": b'{"error":{"code":"InternalServerError","message":"something went wrong"}}',
    "deep-json": b'{"value":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "nan": b'{"value":[NaN],"id":NaN}',
}


def instead(faults: Drawn, refuse: Refuse, *, at: float) -> SimResponse | None:
    """Return what is answered without carrying the request out, or None when it may be carried out."""
    if "reset-before" in faults:
        return SimResponse(reset="before-carrying-out")
    if "redirect" in faults:
        return SimResponse(status=307, headers={"Location": faults["redirect"]})
    if "retry-after" not in faults and "status" not in faults:
        return None
    status = faults.get("status", "429")
    answer = refuse(int(status), "Injected", f"injected status {status}")
    if "retry-after" in faults:
        return with_header(answer, "Retry-After", _retry_after(faults["retry-after"], at))
    return answer


def spoiled(answer: SimResponse, faults: Drawn, refuse: Refuse) -> SimResponse:
    """Return the answer as it is delivered."""
    if "status-after" in faults:
        answer = refuse(int(faults["status-after"]), "Injected", "injected after it was carried out")
    answer = _fattened(_replaced(answer, faults), faults)
    if "truncate" in faults:
        answer = replace(answer, truncate_at=_kept(faults["truncate"], len(answer.body)))
    if "slow-body" in faults:
        answer = replace(answer, pace_s=duration_s(faults["slow-body"]))
    if "latency" in faults:
        answer = replace(answer, delay_s=answer.delay_s + duration_s(faults["latency"]))
    if "reset" in faults and answer.reset is None:
        answer = replace(answer, reset="after-carrying-out")
    return answer


def with_header(answer: SimResponse, name: str, value: str) -> SimResponse:
    """Return the answer with one more header."""
    return replace(answer, headers={**answer.headers, name: value})


def _replaced(answer: SimResponse, faults: Drawn) -> SimResponse:
    if "html" in faults:
        return SimResponse(headers={"Content-Type": "text/html; charset=utf-8"}, body=HTML)
    for name, body in _BODIES.items():
        if name in faults:
            return json_bytes(body)
    return answer


def _fattened(answer: SimResponse, faults: Drawn) -> SimResponse:
    if "big-body" in faults:
        return replace(answer, body=answer.body.ljust(size_bytes(faults["big-body"])))
    if "zip-body" in faults:
        body = gzip.compress(answer.body.ljust(size_bytes(faults["zip-body"])), mtime=0)
        return with_header(replace(answer, body=body), "Content-Encoding", "gzip")
    return answer


def _kept(argument: str, length: int) -> int:
    return length // 2 if argument == "half" else min(int(argument), length)


def _retry_after(argument: str, at: float) -> str:
    if not argument.startswith("date"):
        return argument
    wait_s = argument.removeprefix("date").removeprefix("+") or "5"
    return formatdate(at + float(wait_s), usegmt=True) if wait_s.isdigit() else argument
