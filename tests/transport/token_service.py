"""A token service on loopback TLS, as MSAL expects one."""

import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web

CA = trustme.CA()
TENANT = "tenant"


class TokenService:
    """Counts what it is asked and answers tokens `t1`, `t2`, …, unless `replies` holds something else to say first.

    A reply is a status with a document (or a text), or a document alone.
    """

    def __init__(self) -> None:
        self.url = ""
        self.discoveries = 0
        self.forms: list[dict[str, str]] = []
        self.replies: list[tuple[int, Any]] = []
        self.discovery_replies: list[tuple[int, Any]] = []
        self.expires_in = 3600

    async def discover(self, request: web.Request) -> web.Response:
        self.discoveries += 1
        if self.discovery_replies:
            return _response(*self.discovery_replies.pop(0))
        base = f"{self.url}/{TENANT}"
        return web.json_response(
            {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/authorize",
                "token_endpoint": f"{base}/token",
                "device_authorization_endpoint": f"{base}/devicecode",
            }
        )

    async def token(self, request: web.Request) -> web.Response:
        self.forms.append({key: str(value) for key, value in (await request.post()).items()})
        if self.replies:
            return _response(*self.replies.pop(0))
        return web.json_response(self.granted())

    async def device_code(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "user_code": "ABC",
                "device_code": "dev",
                "verification_uri": "https://where",
                "expires_in": 900,
                "interval": 0,
                "message": "go to https://where and type ABC",
            }
        )

    def granted(self) -> dict[str, Any]:
        claims = {"aud": "client", "exp": 4_000_000_000, "iat": 1, "sub": "s", "preferred_username": "u"}
        packed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return {
            "token_type": "Bearer",
            "scope": "https://apps.example/.default",
            "expires_in": self.expires_in,
            "access_token": f"t{len(self.forms)}",
            "refresh_token": "r3fresh",
            "client_info": base64.urlsafe_b64encode(b'{"uid":"u","utid":"t"}').decode(),
            "id_token": f"e30.{packed}.sig",
        }


@contextlib.asynccontextmanager
async def token_service(ca: trustme.CA = CA) -> AsyncIterator[TokenService]:
    service = TokenService()
    app = web.Application()
    app.router.add_get(f"/{TENANT}/v2.0/.well-known/openid-configuration", service.discover)
    app.router.add_post(f"/{TENANT}/token", service.token)
    app.router.add_post(f"/{TENANT}/devicecode", service.device_code)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(tls)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    service.url = f"https://localhost:{runner.addresses[0][1]}"
    try:
        yield service
    finally:
        await runner.cleanup()


def write_ca(folder: Path) -> Path:
    CA.cert_pem.write_to_path(folder / "ca.pem")
    return folder / "ca.pem"


def _response(status: int, said: Any) -> web.Response:
    if isinstance(said, str):
        return web.Response(status=status, text=said, content_type="text/html")
    return web.json_response(said, status=status)
