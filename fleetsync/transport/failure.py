"""From aiohttp's exceptions to ours, in words that say what to look at."""

import errno

import aiohttp

from fleetsync.errors import InvalidResponseError, SourceError, UnreachableError
from fleetsync.transport.fault import shown

_CERTIFICATE = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is self-signed",
    19: "its certificate was issued by an unknown authority",
    20: "its certificate was issued by an unknown authority",
    21: "its certificate was issued by an unknown authority",
    62: "its certificate is for another name",
    64: "its certificate is for another address",
}
"""OpenSSL's X509_V_ERR numbers."""

_NETWORK = {
    errno.ECONNREFUSED: "the connection was refused",
    errno.ECONNRESET: "the connection was reset",
    errno.ENETUNREACH: "there is no route to it",
    errno.EHOSTUNREACH: "there is no route to it",
    errno.EMFILE: "this process has no file descriptor left",
}


def failure(error: Exception, *, what: str, host: str, sent: bool) -> SourceError:
    """Return our error for a request that got no answer that could be read.

    `what` begins the message; `sent` says whether the request may have reached the service.
    """
    if isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, aiohttp.ClientHttpProxyError):
        return InvalidResponseError(f"{what}: {host} does not speak HTTP: {shown(error.message)}")
    if isinstance(error, aiohttp.InvalidURL):
        return InvalidResponseError(f"{what}: the address cannot be used")
    return UnreachableError(f"{what}: {_words(error, host, sent=sent)}", sent=sent)


def _words(error: Exception, host: str, *, sent: bool) -> str:
    match error:
        case aiohttp.ClientHttpProxyError():
            return f"the proxy refused to connect to {host} with status {error.status}"
        case aiohttp.ClientConnectorError():
            return _connecting(error, host)
        case TimeoutError():
            return f"no answer from {host} in time" if sent else f"no connection to {host} in time"
        case aiohttp.ClientPayloadError():
            return f"the answer of {host} broke off or cannot be unpacked"
        case OSError():
            return f"the connection to {host} failed: {_network(error)}"
        case _:
            return f"{host} closed the connection" if sent else f"no connection to {host}"


def _connecting(error: aiohttp.ClientConnectorError, host: str) -> str:
    match error:
        case aiohttp.ClientProxyConnectionError():
            return f"the proxy {error.host}:{error.port} cannot be reached: {_network(error.os_error)}"
        case aiohttp.ClientConnectorDNSError():
            return f"no address was found for {error.host}"
        case aiohttp.ClientConnectorCertificateError():
            return f"{host} is not trusted: {_certificate(error.certificate_error)}"
        case aiohttp.ClientConnectorSSLError():
            reason = getattr(error.os_error, "reason", None)  # OpenSSL's word, such as WRONG_VERSION_NUMBER
            return f"no secure connection to {host}: {shown(str(reason or 'TLS failed'))}"
        case _:
            return f"{host} cannot be reached: {_network(error.os_error)}"


def _certificate(error: Exception) -> str:
    number = getattr(error, "verify_code", None)
    return _CERTIFICATE.get(number, "its certificate was refused") if number else "its certificate was refused"


def _network(error: OSError) -> str:
    return (
        _NETWORK.get(error.errno, shown(error.strerror or "") or type(error).__name__) if error.errno else "no answer"
    )
