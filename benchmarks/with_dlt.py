"""The same with dlt: its own client and pagination, the table replaced. It runs in an environment of its own.

Its merge into SQLite makes no key index and does not end at 100,000 rows, so it is spared it.

    python -m benchmarks.with_dlt URL DATABASE
"""

import os
import sys
from pathlib import Path

import dlt
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator


def main(base: str, path: str) -> None:
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    client = RESTClient(base_url=base, paginator=JSONLinkPaginator(next_url_path="nextLink"), data_selector="value")

    @dlt.resource(name="device", primary_key="id", write_disposition="replace", max_table_nesting=0)
    def devices():
        yield from client.paginate("/api/devices", params={"api-version": "2022-10-31-preview", "maxpagesize": 100})

    pipeline = dlt.pipeline(
        pipeline_name="devices",
        pipelines_dir=str(Path(path).parent / "dlt"),
        destination=dlt.destinations.sqlalchemy(f"sqlite:///{path}"),
        dataset_name="main",
    )
    pipeline.run(devices()).raise_on_failed_jobs()


if __name__ == "__main__":
    main(*sys.argv[1:3])
