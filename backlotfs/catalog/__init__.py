# SPDX-License-Identifier: Apache-2.0
"""The catalog: the library's assets, the versions of their sources, and their captions.

`sync.Synchronizer` copies the listing from the API to the `db.connection.CatalogDb` (SQLite, kept
over restarts). `catalog.Catalog` publishes it as an immutable `library.Library`.
`probe_scheduler.ProbeScheduler` probes sources. `versions.SourceVersionCache` keeps the results of
probes, writes them to the database, and knows which sources may have been replaced. `captions`
fetches caption documents. None of these stores signed URLs.
"""
