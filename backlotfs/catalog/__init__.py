"""What is known of the library: its assets, and what their sources really are.

`catalog.Catalog` keeps the last good listing and refreshes it; `source_book.SourceBook` keeps what
probes found out; `sizer.Sizer` runs the probes. Stands beside `namespace`, which makes names and
attributes of it. In memory for now: a re-mount asks again.
"""
