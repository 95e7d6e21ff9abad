"""The scan by hand: one statement over the view `devices` that counts what each of the 200 predicates selects."""

import sqlite3
import sys


def predicates() -> list[str]:
    """Return 200 selectors: half of them go by a tag, fifty select nothing, some go by columns alone."""
    found = [f"tags ->> 'site' = 'site-{number:03}'" for number in range(100)]
    for number in range(20):
        found += [
            f"tags ->> 'ring' = 'canary' AND tags ->> 'owner' = 'team-{number}'",
            f"CAST(tags ->> 'floor' AS numeric) > {100 + number}",
            f"enabled AND id LIKE 'pump-%{number:04}'",
            f"status = 'disabled' AND version > {20 + number}",
        ]
    for number in range(10):
        found += [f"last_activity_at < ago('{4000 + number} days')", f"id = 'pump-{number:07}'"]
    return found


def main() -> None:
    connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
    connection.create_function("ago", 1, lambda _: "2015-01-01T00:00:00.000Z", deterministic=True)
    counts = ", ".join(f"COUNT(*) FILTER (WHERE {predicate})" for predicate in predicates())
    print(connection.execute(f"SELECT {counts} FROM devices WHERE source = 'hub'").fetchone())


if __name__ == "__main__":
    main()
