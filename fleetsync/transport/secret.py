"""Secrets: read when they are needed, named by where they come from, never shown."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fleetsync.errors import AuthError


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretText:
    """A secret's place, for people, and a way to read it; a file that was replaced is seen at the next use."""

    place: str
    read: Callable[[], str] = field(repr=False)

    def text(self) -> str:
        """Return the secret without the newline that editors and `echo` leave at the end.

        Raises:
            AuthError: it cannot be read, or is empty. The message names the place.
        """
        try:
            text = self.read()
        except (OSError, UnicodeDecodeError) as error:
            raise AuthError(f"{self.place} cannot be read: {getattr(error, 'strerror', None) or 'not text'}") from error
        text = text.removesuffix("\n").removesuffix("\r")
        if not text.strip():
            raise AuthError(f"{self.place} is empty")
        return text

    def header(self) -> str:
        """Return the secret where it is to be sent as a header.

        Raises:
            AuthError: as `text`, or it holds a character that no header can carry.
        """
        text = self.text()
        if not (text.isascii() and text.isprintable()):
            raise AuthError(f"{self.place} holds a line break or another character that cannot be sent")
        return text
