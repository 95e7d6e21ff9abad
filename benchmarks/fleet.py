"""The fleet that the stand-in shows: documents as the services send them, made once and kept as bytes."""

import random
import string
from collections.abc import Iterator

PAGE = 100

_LETTERS = string.ascii_letters + string.digits
_CENTRAL = (
    '{"id":"%s","etag":"eyJoZWFkZXIiOiJcIjAwMDA%04d\\"","displayName":"Pump %d.%d of hall %d","simulated":false,'
    '"provisioned":%s,"enabled":%s,"template":"dtmi:contoso:pump:v%d;1","organizations":["hall-%d"]}'
)
_HUB = (
    '{"deviceId":"%s","etag":"AAAAAAAA%04d=","deviceEtag":"NzQ4NTU=","status":"enabled","statusUpdateTime":'
    '"0001-01-01T00:00:00Z","connectionState":"Disconnected","lastActivityTime":"2026-11-20T10:00:00Z",'
    '"cloudToDeviceMessageCount":0,"authenticationType":"sas","x509Thumbprint":{"primaryThumbprint":null,'
    '"secondaryThumbprint":null},"modelId":"","version":%d,"tags":{"site":"hall-%d","floor":%d,"line":"L%d"},'
    '"properties":{"desired":%s,"reported":%s},"capabilities":{"iotEdge":false}}'
)


class Fleet:
    """Devices in the order in which a service lists them; `change` makes some of them others."""

    def __init__(self, devices: int, *, shape: str, order: str) -> None:
        chance = random.Random(7)
        ids = ["".join(chance.choices(_LETTERS, k=20)) for _ in range(devices)]
        if order == "sorted":
            ids.sort()
        self._ids = ids
        self._made = {"central": _central, "hub": _hub}[shape]
        self._versions = bytearray(devices)
        self._chance = chance
        self.documents = [self._made(id, number, 0) for number, id in enumerate(ids)]

    def change(self, share: float) -> None:
        """Give so many devices another description."""
        for number in self._chance.sample(range(len(self._ids)), round(share * len(self._ids))):
            self._versions[number] = (self._versions[number] + 1) % 256
            self.documents[number] = self._made(self._ids[number], number, self._versions[number])

    def pages(self) -> Iterator[list[bytes]]:
        """Yield what each page holds."""
        for first in range(0, len(self.documents), PAGE):
            yield self.documents[first : first + PAGE]


def _central(id: str, number: int, version: int) -> bytes:
    hall = number % 50
    flags = ("true" if number % 10 else "false", "true" if number % 20 else "false")
    return (_CENTRAL % (id, version, number, version, hall, *flags, number % 5, hall)).encode()


def _hub(id: str, number: int, version: int) -> bytes:
    """Return a twin of about 1.5 KB."""
    day = 1 + version % 28
    written = f'{{"$lastUpdated":"2026-11-{day:02}T10:00:00.1234567Z","$lastUpdatedVersion":{version + 1}}}'
    desired = _section({"telemetryInterval": 30 + version, "mode": '"eco"', "limit": 21.5}, written, version + 1)
    values = {f"sensor{one}": f"{number % 97}.{one}" for one in range(8)} | {"firmware": '"1.4.2"'}
    reported = _section(values, written, 7)
    return (_HUB % (id, version, 9 + version, number % 50, number % 7, number % 9, desired, reported)).encode()


def _section(values: dict[str, object], written: str, version: int) -> str:
    members = ",".join(f'"{name}":{value}' for name, value in values.items())
    metadata = ",".join(f'"{name}":{written}' for name in values)
    return f'{{{members},"$metadata":{{"$lastUpdated":"2026-11-01T10:00:00Z",{metadata}}},"$version":{version}}}'
