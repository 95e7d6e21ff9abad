"""The script that one writes in ten minutes: requests, json, a commit per page.

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
_UPSERT = """
INSERT INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET etag = excluded.etag,
    display_name = excluded.display_name, enabled = excluded.enabled, provisioned = excluded.provisioned,
    simulated = excluded.simulated, template = excluded.template, document = excluded.document
"""
_MEMBERS = ("id", "etag", "displayName", "enabled", "provisioned", "simulated", "template")


def main(base: str, path: str) -> None:
    url: str | None = f"{base}/api/devices?api-version=2022-10-31-preview&maxpagesize=100"
    with contextlib.closing(sqlite3.connect(path)) as database, requests.Session() as session:
        database.execute(_TABLE)
        while url:
            page = session.get(url, timeout=60).json()
            rows = [(*map(one.get, _MEMBERS), json.dumps(one)) for one in page["value"]]
            with database:
                database.executemany(_UPSERT, rows)
            url = page.get("nextLink")


if __name__ == "__main__":
    main(*sys.argv[1:3])
