"""The library's JSON API: signed requests, listing, records.

One call goes ``client`` (routes) → ``requester`` (signature, retries, clock and credits) →
``transport`` (one exchange, bounded) → ``answers`` (status and JSON, or a typed error) →
``parsing`` (records). ``signing``, ``parsing``, ``paging`` and ``answers`` are pure.

Threads: an :class:`~backlotfs.api.client.ApiClient` may be used by any number of threads. It
keeps no lock: what it learns from answers (clock skew, credits) are single immutable values,
replaced whole. Sleeps and I/O happen in the calling thread.
"""
