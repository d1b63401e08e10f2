"""What is known of the library: its assets, and what their sources really are.

The way of a fact: `sync.Synchronizer` brings the listing into the `db.connection.CatalogDb`
(SQLite, kept over restarts). `catalog.Catalog` publishes it as an immutable `library.Library`.
`probe_scheduler.ProbeScheduler` probes sources. `versions.SourceVersionCache` keeps what the probes
found, writes it to the database, and knows which sources may have been replaced. `captions` asks
for caption documents. `namespace`, above, makes names and attributes of it. Signed URLs are in none
of these.
"""
