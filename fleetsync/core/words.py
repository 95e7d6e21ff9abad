"""Numbers in sentences."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number and what it counts: "1 write", "2 writes"."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
