"""The script that one writes in ten minutes: requests, json, INSERT OR REPLACE, a commit per page.

python -m benchmarks.plain URL DATABASE
"""

import contextlib
import json
import sqlite3
import sys

import requests

_TABLE = """
CREATE TABLE IF NOT EXISTS device (id TEXT PRIMARY KEY, etag TEXT, display_name TEXT, enabled INTEGER,
    provisioned INTEGER, simulated INTEGER, template TEXT, document TEXT NOT NULL)
"""
_REPLACE = "INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_MEMBERS = ("id", "etag", "displayName", "enabled", "provisioned", "simulated", "template")


def main(base: str, path: str) -> None:
    url: str | None = f"{base}/api/devices?api-version=2022-10-31-preview&maxpagesize=100"
    with contextlib.closing(sqlite3.connect(path)) as database, requests.Session() as session:
        database.execute(_TABLE)
        while url:
            page = session.get(url, timeout=60).json()
            rows = [(*map(one.get, _MEMBERS), json.dumps(one)) for one in page["value"]]
            with database:
                database.executemany(_REPLACE, rows)
            url = page.get("nextLink")


if __name__ == "__main__":
    main(*sys.argv[1:3])
