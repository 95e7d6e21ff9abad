"""EDGE: the local SQL copy of every service, with history.

- One writer connection and one process per SQLite file; every commit is durable (`synchronous=FULL`, WAL).
- Whole pages, what they showed to be there and the cursor go in one transaction.
- A row is marked gone only by two complete listings, or by one and the service's own "not found".
- Views are the contract (`views.py`); tables are ours. Types and exceptions of sqlalchemy stay in here.
"""
