"""What a source really is: true size, ETag and Last-Modified, from one byte of it.

The API's ``file_size`` may disagree with the object; ``Content-Range`` wins. The GET of one byte
goes to the source host and costs no API credit; the URL for it does, and is kept for the reads
that follow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import InvalidRangeResponse
from backlotfs.http.content_range import check_range_answer
from backlotfs.http.pool import small_body
from backlotfs.http.s3_error import ERROR_BODY_BYTES, parse_s3_error
from backlotfs.log import events
from backlotfs.source.signed_get import SignedGet
from backlotfs.source.version import SourceVersion, identity_of

log = logging.getLogger(__name__)

_FIRST_BYTE = ByteRange(0, 1)


class SourceProbe:
    """Asks source hosts for identities. Any thread may call it."""

    def __init__(
        self, signed_get: SignedGet, reported: Callable[[str], int | None] = lambda _code: None
    ) -> None:
        """``reported``: the ``file_size`` that the API last gave for an asset."""
        self._signed_get = signed_get
        self._reported = reported

    def probe(self, embed_code: str, deadline: Deadline) -> SourceVersion:
        """The identity of the source as it is now.

        :raises SourceMissing, SourceDenied, SourceGone: there is no source to be had.
        :raises BacklotError: it could not be found out now; see `SignedGet.open`.
        """
        failures = 0
        while True:
            try:
                identity = self._once(embed_code, deadline)
                self._compare(identity)
                return identity  # noqa: TRY300  # what follows is for failures
            except InvalidRangeResponse as error:
                failures += 1
                self._signed_get.pause(failures, deadline, error)

    def _compare(self, identity: SourceVersion) -> None:
        reported = self._reported(identity.embed_code)
        if reported is not None and reported != identity.size:
            events.SIZE_DIFFERS.log(
                log, embed_code=identity.embed_code, size=identity.size, api_size=reported
            )

    def _once(self, embed_code: str, deadline: Deadline) -> SourceVersion:
        with self._signed_get.open(embed_code, _FIRST_BYTE, deadline) as answer:
            if answer.status == 416:  # byte 0 does not exist: the object is empty
                error = parse_s3_error(small_body(answer, ERROR_BODY_BYTES))
                if error.actual_size not in (None, 0):
                    raise InvalidRangeResponse(f"416 for the first byte of {embed_code}")
                return identity_of(embed_code, answer.headers, 0)
            served = check_range_answer(answer.status, answer.headers, _FIRST_BYTE)
            small_body(answer, ERROR_BODY_BYTES)
            return identity_of(embed_code, answer.headers, served.total)
