"""A secret goes to the configured authority only, whatever that answers."""

import socket
import threading

import pytest
import requests

from fleetsync.transport.entra import http_session


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_redirect_of_the_token_service_is_not_followed(status: int, method: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service, socket.create_server(("127.0.0.1", 0)) as elsewhere:
        target = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/x"

        def answer() -> None:
            connection, _ = service.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(f"HTTP/1.1 {status} R\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

        thread = threading.Thread(target=answer)
        thread.start()
        with http_session() as session, pytest.raises(requests.TooManyRedirects):
            getattr(session, method)(f"http://127.0.0.1:{service.getsockname()[1]}/token")
        thread.join()
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
