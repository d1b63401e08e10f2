"""The HTTP libraries' own debug lines, redacted where they are made.

They name every URL with its query, and `http.client` prints whole requests to stdout. Ours are off
by default (`backlotfs.log.output`), but whoever turns them on gets hosts, paths and no signature.
"""

from __future__ import annotations

import http.client
import logging

from backlotfs.log.redaction import RedactingFilter, redacted

_LIBRARIES = ("urllib3", "requests", "http.client")
_FILTER = RedactingFilter()
_HTTP_LOG = logging.getLogger("http.client")


def redact_library_logs() -> None:
    """Redact what urllib3, requests and `http.client` say from now on, on any handler.

    May be called again, from any thread.
    """
    for name in list(logging.Logger.manager.loggerDict):
        if name.startswith(_LIBRARIES):
            logging.getLogger(name).addFilter(_FILTER)
    # its ``debuglevel`` knows no logger: it calls print(), which is looked up in the module first
    http.client.print = _debug_line  # type: ignore[attr-defined]  # the name is ours to add


def _debug_line(*words: object, **_how: object) -> None:
    _HTTP_LOG.debug("%s", redacted(" ".join(str(word) for word in words)))
