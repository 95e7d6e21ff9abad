"""What passes between a service and the outside: a request, and an answer with its mishaps."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Object: TypeAlias = dict[str, Any]
"""A JSON object."""

Reset: TypeAlias = Literal["before-carrying-out", "after-carrying-out"]
Kind: TypeAlias = Literal["list", "read", "write", "token", "discovery"]
"""What a request does; a discovery asks where the tokens are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimRequest:
    """A request as it came over the wire; `target` is the raw path and query, percent-encoding intact."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        """Return the raw path."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """Return the raw query, without its question mark."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """Return the value of a header; names are compared without regard to case."""
        wanted = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), None)

    def object(self) -> Object | None:
        """Return the body when it is a JSON object, else None."""
        try:
            found = json.loads(self.body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimResponse:
    """An answer, and what is to go wrong while it is delivered.

    `delay_s` passes before the first byte. `reset` closes the connection instead of answering; whether
    the request was carried out before is for the reader of the log, the wire looks the same. With
    `truncate_at` the whole length is promised and only so many bytes follow. `pace_s` passes between
    any two bytes of the body.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0
    reset: Reset | None = None
    truncate_at: int | None = None
    pace_s: float = 0.0

    @property
    def is_lost(self) -> bool:
        """True when the client never sees the whole answer."""
        return self.reset is not None or self.truncate_at is not None

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


class RefusedError(Exception):
    """A service refuses a request; it becomes an answer in the dialect of the service."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def encoded(document: object) -> bytes:
    """Return the compact JSON text of a document."""
    try:
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair is legal in JSON, as an escape.
        return json.dumps(document, separators=(",", ":")).encode()


def json_answer(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> SimResponse:
    """Return an answer that carries a JSON document."""
    return json_bytes(encoded(document), status=status, headers=headers)


def json_bytes(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> SimResponse:
    """Return an answer that carries a JSON document which is text already."""
    content_type = {"Content-Type": "application/json; charset=utf-8"}
    return SimResponse(status=status, headers={**content_type, **(headers or {})}, body=body)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
