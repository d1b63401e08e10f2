# SPDX-License-Identifier: Apache-2.0
"""The API host: signatures, the rate limit, and the routes below ``/v2``.

``ApiSide`` makes answers but does not send them. The functions below it make the JSON of
``/streams`` (with the types of 2013 or 2017), ``/source_file_info``, labels and deleted assets.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from backlotfs.emulator.assets import SOURCE_TYPES, DeletedAsset, EmulatedAsset, EmulatedLabel
from backlotfs.emulator.http_types import PREVIEW_IMAGE, Answer, ReceivedRequest, RouteMatch
from backlotfs.emulator.library import Library
from backlotfs.emulator.listing import (
    BadListing,
    Order,
    PastTheEnd,
    next_page_url,
    page_of,
    parse_limit,
    parse_order,
    parse_token,
    parse_where,
)
from backlotfs.emulator.numbers_and_dates import iso_time, whole_number
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.sources import Sources

SIGNATURE_LENGTH = 43

_STREAM_FIELDS = (
    "is_source", "file_size", "muxing_format", "stream_type",
    "profile", "video_codec", "audio_codec", "video_width", "video_height",
    "average_video_bitrate", "audio_bitrate", "url",
)  # fmt: skip  # a table
_RENDITIONS = (
    (("baseline", "h264", "aac", 240, 136), 150),
    (("main", "h264", "aac", 1280, 720), 1200),
)
"""Renditions for players: the fields from profile to height, and kbit/s."""
_SOURCE_FORM = ("na", "h264", "aac", 1920, 1080)

_SIDECARS: Mapping[str, Any] = {
    "generated_preview_images": [],
    "lineup": [],
    "preview_image_files": {"items": []},
    "preview_image_urls": {"items": []},
    "primary_preview_image": {"type": "generated", "time": 0},
    "movie_urls": {},
}
"""Default answers of the side-car routes; ``extras`` of an asset can replace them."""


def api_signature(
    secret: str, method: str, path: str, parameters: Iterable[tuple[str, str]], body: bytes = b""
) -> str:
    """The signature (V2) that this request must have, before percent-encoding.

    The signed text is the secret, METHOD, path, then ``name=value`` of every parameter except
    ``signature``, sorted by name, without separators, then the body. The signature is its SHA-256
    in Base64, 43 characters. This function follows the API reference, not the code of the client.

    :param path: the path as received, undecoded, without the query.
    :param parameters: decoded (name, value) pairs.
    """
    pairs = sorted((name, value) for name, value in parameters if name != "signature")
    text = secret + method.upper() + path + "".join(f"{name}={value}" for name, value in pairs)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape") + body).digest()
    return base64.b64encode(digest).decode("ascii")[:SIGNATURE_LENGTH]


def signature_matches(expected: str, given: str) -> bool:
    """Whether ``given`` is the signature, without regard to trailing ``=``. Constant time."""
    return hmac.compare_digest(
        expected.encode("ascii"), given.rstrip("=").encode("utf-8", "surrogateescape")
    )


@dataclass(frozen=True, slots=True)
class Charge:
    """The result of one call: whether it got a credit, the credits left, seconds to the reset."""

    granted: bool
    remaining: int
    reset_s: int


class RateLimiter:
    """The account's credits in a time window. Thread-safe.

    The first call after the end of a window begins the next one. Failed calls take a credit too.
    """

    def __init__(self, limit: int, window_s: float, clock: Callable[[], float]) -> None:
        """``limit`` calls in ``window_s`` seconds of ``clock``."""
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._lock = Lock()
        self._opened = -math.inf
        self._spent = 0

    def charge(self) -> Charge:
        """Take a credit for one call, if there is one."""
        with self._lock:
            now = self._clock()
            if not self._opened <= now < self._opened + self._window_s:
                self._opened, self._spent = now, 0
            granted = self._spent < self._limit
            self._spent += granted
            reset_s = max(1, math.ceil(self._opened + self._window_s - now))
            return Charge(granted, self._limit - self._spent, reset_s)


def rate_limit_message(seconds: int) -> Answer:
    """The API's 429: the seconds are in the text, and there is no ``Retry-After``."""
    return Answer.message(
        429, f"Request limit exceeded for provider 12345. Try again after {seconds} seconds."
    )


class ApiSide:
    """Answers API requests. Thread-safe."""

    def __init__(self, settings: EmulatorSettings, library: Library, sources: Sources) -> None:
        """Serve ``library``; ``sources`` signs source URLs."""
        self._settings = settings
        self._library = library
        self._sources = sources

    def refusal(self, request: ReceivedRequest) -> Answer | None:
        """The answer to a request with wrong credentials, otherwise None. Opens no file."""
        values = request.values
        missing = [name for name in ("api_key", "signature", "expires") if not values.get(name)]
        if missing:
            return Answer.message(400, f"These parameters are missing: {', '.join(missing)}.")
        expected = api_signature(
            self._settings.api_secret,
            request.method,
            request.raw_path,
            request.parameters,
            request.body,
        )
        known = values["api_key"] == self._settings.api_key
        if not known or not signature_matches(expected, values["signature"]):
            return Answer.message(401, "Invalid signature.")
        expires = whole_number(values["expires"])
        if expires is None:
            return Answer.message(400, "expires must be a number of seconds since the epoch.")
        # the real API accepted dates years ahead, and milliseconds
        if expires < self._settings.clock():
            return Answer.message(self._settings.stale_expires_status, "Request Expired.")
        return None

    def answer(self, request: ReceivedRequest, match: RouteMatch) -> Answer:
        """The answer to a request with valid credentials, without the rate limit.

        It may read files and iterate over the whole library.
        """
        route, subject = match
        if route == "unknown":
            return Answer.message(404, f"No route matches {request.path}.")
        if request.method != "GET":
            return Answer.message(403, "This API key has read-only access.")
        if match.embed_code is not None:
            asset = self._library.find(subject)
            if asset is None:
                return Answer.message(404, f"No asset exists with the id {subject}.")
            return self._asset_answer(request, route, asset)
        if route in ("label", "label_children", "label_assets"):
            label = self._library.label(subject)
            if label is None:
                return Answer.message(404, f"No label exists with the id {subject}.")
            return self._label_answer(request, route, label)
        match route:
            case "assets":
                return self._listing(request, self._library.ordered())
            case "deleted_assets":
                return self._deleted(request)
            case "labels_by_full_path":
                return self._labels_by_full_path(subject)
        root_only = request.values.get("is_root") == "true"
        return self._labels(lambda label: not root_only or label.parent_id is None)

    def _asset_answer(self, request: ReceivedRequest, route: str, asset: EmulatedAsset) -> Answer:
        match route:
            case "asset":
                return Answer.json(self._asset_record(request, asset))
            case "streams":
                return self._streams(request, asset)
            case "source_file_info":
                return Answer.json(source_info_record(asset, self._source_url(request, asset)))
            case "metadata":
                return Answer.json(dict(asset.metadata))
            case "asset_labels":
                return self._labels(lambda label: label.label_id in asset.label_ids)
            case "closed_captions":
                return _closed_captions(asset)
        return Answer.json(asset.extras.get(f"/{route}", _SIDECARS[route]))

    def _label_answer(self, request: ReceivedRequest, route: str, label: EmulatedLabel) -> Answer:
        if route == "label_children":
            return self._labels(lambda one: one.parent_id == label.label_id)
        carrying = [a for a in self._library.ordered() if label.label_id in a.label_ids]
        if route == "label_assets":
            return self._listing(request, carrying)
        record = label_record(label, self._library)
        return Answer.json({**record, "asset_count": len(carrying)})

    def _labels(self, wanted: Callable[[EmulatedLabel], bool]) -> Answer:
        labels = [one for one in self._library.labels() if wanted(one)]
        return Answer.json({"items": [label_record(one, self._library) for one in labels]})

    def _labels_by_full_path(self, text: str) -> Answer:
        wanted = {"".join(f"/{name}" for name in names): None for names in split_full_paths(text)}
        by_name: dict[str, list[EmulatedLabel]] = {}
        for label in self._library.labels():
            by_name.setdefault(self._library.full_name(label), []).append(label)
        missing = [name for name in wanted if name not in by_name]
        if missing:
            return Answer.message(400, "Some labels do not exist.", missing_labels=missing)
        found = [label_record(one, self._library) for name in wanted for one in by_name[name]]
        return Answer.json({"items": found})

    def _listing(self, request: ReceivedRequest, assets: Sequence[EmulatedAsset]) -> Answer:
        """A page of ``assets`` (in the default order), by the request's filter, order, limit."""
        values, settings = request.values, self._settings
        accepts, order = None, Order()
        try:
            if settings.supports_where:
                order = parse_order(values.get("orderby"))
                if values.get("where"):
                    accepts = parse_where(values["where"], label_names=self._label_names)
            page = page_of(
                assets,
                order=order,
                accepts=accepts,
                limit=parse_limit(values.get("limit"), settings.page_cap),
                token=values.get("page_token"),
                exact_multiple=settings.exact_multiple,
            )
        except BadListing as error:
            return Answer.message(400, str(error))
        except PastTheEnd:
            return Answer.message(404, "There are no more results.")
        items = [self._asset_record(request, asset) for asset in page.assets]
        if settings.lists_sources and "streams" in _included(request):
            for item, asset in zip(items, page.assets, strict=True):
                url = self._source_url(request, asset)
                item["streams"] = streams_record(asset, url, dialect=settings.dialect)
        return _page(request, items, page.next_token)

    def _deleted(self, request: ReceivedRequest) -> Answer:
        values, cap = request.values, self._settings.page_cap
        remaining = self._library.deleted()
        try:
            limit = parse_limit(values.get("limit", str(cap)), cap)
            if "page_token" in values:
                moment, embed_code = parse_token(values["page_token"], Order())
                after = (-moment, embed_code)
                remaining = [d for d in remaining if (-d.deleted_at, d.asset.embed_code) > after]
        except BadListing as error:
            return Answer.message(400, str(error))
        page, token = remaining[:limit], None
        if len(remaining) > limit:
            token = f"{page[-1].deleted_at};{page[-1].asset.embed_code}"
        return _page(request, [deleted_record(one) for one in page], token)

    def _streams(self, request: ReceivedRequest, asset: EmulatedAsset) -> Answer:
        if asset.content is None and not asset.url_withheld and asset.asset_type != "video":
            return Answer.json([])
        url = self._source_url(request, asset)
        return Answer.json(streams_record(asset, url, dialect=self._settings.dialect))

    def _source_url(self, request: ReceivedRequest, asset: EmulatedAsset) -> str | None:
        if asset.content is None or asset.url_withheld:
            return None
        return self._sources.url(asset, request.base_url)

    def _label_names(self, asset: EmulatedAsset) -> list[str]:
        return [label.name for label in self._labels_of(asset)]

    def _labels_of(self, asset: EmulatedAsset) -> list[EmulatedLabel]:
        labels = (self._library.label(label_id) for label_id in asset.label_ids)
        return [label for label in labels if label is not None]

    def _asset_record(self, request: ReceivedRequest, asset: EmulatedAsset) -> dict[str, Any]:
        """An asset object; the API never includes a size, a checksum or a MIME type."""
        ready = asset.asset_type in SOURCE_TYPES and asset.status in ("live", "paused")
        image = f"{request.base_url}/{asset.embed_code}/{PREVIEW_IMAGE}" if ready else None
        record: dict[str, Any] = {
            "embed_code": asset.embed_code,
            "name": asset.title,
            "asset_type": asset.asset_type,
            "status": asset.status,
            "original_file_name": asset.original_file_name,
            "duration": asset.duration_ms,
            "description": asset.description,
            "created_at": iso_time(asset.created_at),
            "updated_at": iso_time(asset.changed_at),
            "external_id": asset.external_id,
            "hosted_at": None,
            "time_restrictions": None,
            "ad_set_id": None,
            "publishing_rule_id": "0123456789abcdef0123456789abcdef",
            "preview_image_url": image,
        }
        if self._settings.dialect != "2013":
            record["player_id"] = "fedcba9876543210fedcba9876543210"
        record.update((k, v) for k, v in asset.extras.items() if not k.startswith("/"))
        included = _included(request)
        if "metadata" in included:
            record["metadata"] = dict(asset.metadata)
        if "labels" in included:
            labels = self._labels_of(asset)
            record["labels"] = [label_record(one, self._library) for one in labels]
        return record


def split_full_paths(text: str) -> list[list[str]]:
    """Split ``/Sports/Racing,/Other`` into lists of names; ``~`` escapes ``/``, ``,`` and ``~``."""
    paths: list[list[str]] = [[""]]
    for token in re.findall(r"~.|[^~]|~", text, flags=re.DOTALL):
        if token == ",":
            paths.append([""])
        elif token == "/":
            paths[-1].append("")
        else:
            paths[-1][-1] += token[-1]
    named = [[name for name in names if name] for names in paths]
    return [path for path in named if path]


def label_record(label: EmulatedLabel, library: Library) -> dict[str, Any]:
    """A label object."""
    return {
        "id": label.label_id,
        "name": label.name,
        "full_name": library.full_name(label),
        "parent_id": label.parent_id,
    }


def deleted_record(deleted: DeletedAsset) -> dict[str, Any]:
    """An entry of ``/v2/deleted_assets``; the duration is a string, as in the known sample."""
    asset = deleted.asset
    return {
        "embed_code": asset.embed_code,
        "name": asset.title,
        "description": asset.description,
        "asset_type": asset.asset_type,
        "created_at": iso_time(asset.created_at),
        "deleted_at": iso_time(deleted.deleted_at),
        "provider_id": 12345,
        "duration": str(asset.duration_ms),
    }


def streams_record(asset: EmulatedAsset, url: str | None, *, dialect: str) -> list[dict[str, Any]]:
    """The array of ``/streams``: two renditions, and the source at its ``source_position``.

    :param url: the signed source URL; None for ``null``.
    """
    player = f"http://player.ooyala.com/player/iphone/{asset.embed_code}.m3u8"
    rows: list[tuple[Any, ...]] = [
        (False, asset.duration_ms * kbit_s // 8, "TS", "abr", *form, kbit_s, 32, player)
        for form, kbit_s in _RENDITIONS
    ]
    if asset.content is not None or asset.url_withheld:
        source = (True, _claimed_size(asset), "NA", "single", *_SOURCE_FORM, 8000, 0, url)
        rows.insert(min(asset.source_position, len(rows)), source)
    entries = [dict(zip(_STREAM_FIELDS, row, strict=True)) for row in rows]
    if dialect == "2013":
        return [{name: _as_string(value) for name, value in one.items()} for one in entries]
    return entries


def source_info_record(asset: EmulatedAsset, url: str | None) -> dict[str, Any]:
    """The object of ``/source_file_info``; sizes are integers in both dialects."""
    return {
        "original_file_name": asset.original_file_name,
        "file_size": _claimed_size(asset),
        "source_file_url": url,
        "reconstituted_source_file_available": url is not None,
        "uploaded_by_client": None,
    }


def _included(request: ReceivedRequest) -> list[str]:
    return request.values.get("include", "").split(",")


def _page(request: ReceivedRequest, items: list[dict[str, Any]], token: str | None) -> Answer:
    payload: dict[str, Any] = {"items": items}
    if token is not None:
        payload["next_page"] = next_page_url(request.raw_path, request.parameters, token)
    return Answer.json(payload)


def _closed_captions(asset: EmulatedAsset) -> Answer:
    captions = asset.extras.get("/closed_captions")
    if captions is None:
        return Answer.message(404, f"No closed captions exist for the asset {asset.embed_code}.")
    body = captions if isinstance(captions, bytes) else str(captions).encode()
    return Answer(200, body, {"Content-Type": "application/ttaf+xml"})


def _claimed_size(asset: EmulatedAsset) -> int | None:
    """The ``file_size`` in answers: ``reported_size`` of the asset, or the true size."""
    if asset.reported_size is not None:
        return asset.reported_size
    return asset.content.size if asset.content is not None else None


def _as_string(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value is None else str(value)
