# SPDX-License-Identifier: Apache-2.0
"""Bytes of source files from their hosts, by signed URLs.

One read of a range goes `range_reader` (validate, resume) → `signed_get` (retries, by a table over
the answer's status) → `url_resolver` (a signed URL with life left in it; one renewal at a time) →
`http.pool`. `range_reader.SourceProbe` finds out the true size and the validators of a source.
"""
