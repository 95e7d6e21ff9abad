"""What happened, as one number: the same seed has to give the same."""

import hashlib


class Trace:
    """Everything that is added, in its order."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=8)
        self.length = 0

    def add(self, *what: object) -> None:
        """Take note of something that happened."""
        self._hash.update(repr(what).encode())
        self.length += 1

    @property
    def digest(self) -> str:
        """Return the number of all of it."""
        return self._hash.hexdigest()
