"""The API side: credentials, then the routes below ``/v2``. Decides answers; sends nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backlotfs.emulator.api_signing import api_signature, signature_matches
from backlotfs.emulator.asset_routes import AssetRoutes
from backlotfs.emulator.http_types import Answer, ReceivedRequest
from backlotfs.emulator.label_routes import LabelRoutes
from backlotfs.emulator.library import Library
from backlotfs.emulator.numbers_and_dates import whole_number
from backlotfs.emulator.routing import RouteMatch
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.source_url import SourceUrls

Handler = Callable[[ReceivedRequest, str], Answer]


class ApiSide:
    """Answers API requests. Thread-safe."""

    def __init__(self, settings: EmulatorSettings, library: Library, urls: SourceUrls) -> None:
        """Serve ``library``; ``urls`` signs source URLs."""
        self._settings = settings
        assets = AssetRoutes(settings, library, urls)
        labels = LabelRoutes(library, assets)
        self._handlers: dict[str, Handler] = {**assets.handlers(), **labels.handlers()}

    def answer(self, request: ReceivedRequest, match: RouteMatch) -> Answer:
        """The answer to a request that was not refused, the rate limit aside.

        It may look at files and walk the whole library.
        """
        handler = self._handlers.get(match.route)
        if handler is None:
            return Answer.message(404, f"No route matches {request.path}.")
        if request.method != "GET":
            return Answer.message(403, "This API key has read-only access.")
        return handler(request, match.subject)

    def refusal(self, request: ReceivedRequest) -> Answer | None:
        """The answer to a request without good credentials, else None. Quick."""
        parameters = request.parameters
        values: dict[str, Any] = dict(parameters)
        missing = [name for name in ("api_key", "signature", "expires") if not values.get(name)]
        if missing:
            return Answer.message(400, f"These parameters are missing: {', '.join(missing)}.")
        expected = api_signature(
            self._settings.api_secret, request.method, request.raw_path, parameters, request.body
        )
        known = values["api_key"] == self._settings.api_key
        if not known or not signature_matches(expected, values["signature"]):
            return Answer.message(401, "Invalid signature.")
        expires = whole_number(values["expires"])
        if expires is None:
            return Answer.message(400, "expires must be a number of seconds since the epoch.")
        # dates years ahead, and milliseconds, were accepted
        if expires < self._settings.clock():
            return Answer.message(self._settings.stale_expires_status, "Request Expired.")
        return None
