# SPDX-License-Identifier: Apache-2.0
"""The library's JSON API: signed requests, listing, records.

One call goes ``client`` (routes; signature, retries, the server's clock) → ``rate_limiter`` (wait
for a credit) → ``transport`` (one exchange, bounded) → ``answers`` (status, or a typed error) →
``records`` (by ``untrusted_json``). ``signing``, ``records``, ``untrusted_json`` and ``answers``
are pure. ``paging`` does no I/O; its `PageSize` and `ListingMeter` have state.

Threads: an :class:`~backlotfs.api.client.ApiClient` may be used by any number of threads. Sleeps
and I/O happen in the calling thread, without a lock. Private locks protect the state that answers
change (credits, page size, hosts that are down); the clock skew is one value that is replaced
whole.
"""
