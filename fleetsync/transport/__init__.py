"""EDGE: requests to services. One method, `send()`, in layers: Retrying(Breaking(Authorized(Limited(Client)))).

- A request that may have been carried out is never repeated, by us or by a library.
- A token goes to the configured origin only, and no redirect is followed.
- Every answer has a deadline and a size limit.
- Types and exceptions of aiohttp and msal stay in here.
"""
