# SPDX-License-Identifier: Apache-2.0
"""Reads bytes of source files from their hosts, by signed URLs.

A read of a range passes through `range_reader` (validates and resumes), `signed_get` (retries, by
the status of the answer), `url_resolver` (gives a signed URL that has not expired; one renewal at a
time) and `http.pool`. `range_reader.SourceProbe` finds out the true size and the validators of a
source.
"""
