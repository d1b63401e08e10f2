# SPDX-License-Identifier: Apache-2.0
"""Who may call the API, how often, and by which host: over real sockets."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote

import pytest

from backlotfs.emulator import EmulatedAsset, Emulator, EmulatorSettings, Library
from tests.emulator.conftest import CLIP
from tests.emulator.probe import (
    call,
    connected,
    exchange,
    sign,
    signed_target,
)
from tests.fakes.clocks import ManualClock


def test_missing_parameters(emulator: Emulator) -> None:
    """400 with the recorded message; only what is missing is named."""
    reply = exchange(emulator.api_url, "/v2/assets")
    assert reply.status == 400
    assert reply.body == b'{"message":"These parameters are missing: api_key, signature, expires."}'
    partly = exchange(emulator.api_url, "/v2/assets?api_key=x&expires=1")
    assert partly.json == {"message": "These parameters are missing: signature."}


def test_wrong_credentials(emulator: Emulator) -> None:
    """401 for a wrong signature, a wrong key, and a changed parameter."""
    good = signed_target(emulator, "/v2/assets", limit="2")
    for bad in (
        good.replace("limit=2", "limit=3"),
        good.replace(emulator.api_key, "other.key00"),
        good.replace("/v2/assets", "/v2/labels"),
        re.sub("signature=...", "signature=AAA", good),
    ):
        reply = exchange(emulator.api_url, bad)
        assert (reply.status, reply.json) == (401, {"message": "Invalid signature."})


def test_signature_anywhere_with_a_bare_slash(emulator: Emulator) -> None:
    """The signature may stand first, with its ``/`` unencoded; names need no order."""
    expires = int(emulator.settings.clock()) + 300
    for tick in range(100):  # some Expires gives a signature with a slash
        values = {"api_key": emulator.api_key, "expires": str(expires + tick)}
        signature = sign(emulator.api_secret, "GET", "/v2/labels", values)
        if "/" in signature:
            break
    rest = "&".join(f"{name}={quote(value)}" for name, value in values.items())
    bare = signature.replace("+", "%2B")
    reply = exchange(emulator.api_url, f"/v2/labels?signature={bare}&{rest}")
    assert reply.status == 200


@pytest.mark.parametrize("status", [400, 401])
def test_stale_expires(library: Library, clock: ManualClock, status: int) -> None:
    """The status for a past ``expires`` is a switch; nobody knows the text."""
    settings = EmulatorSettings(clock=clock.now, stale_expires_status=status)
    with Emulator(library, settings) as emulator:
        target = signed_target(emulator, "/v2/assets")
        clock.advance(301)
        reply = exchange(emulator.api_url, target)
        assert (reply.status, reply.json) == (status, {"message": "Request Expired."})


def test_far_expires(emulator: Emulator) -> None:
    """Years ahead and milliseconds are accepted; what is no number is not."""
    for expires in (int(emulator.settings.clock()) + 10**9, 1_500_000_300_000):
        assert call(emulator, "/v2/labels", expires=str(expires)).status == 200
    assert call(emulator, "/v2/labels", expires="soon").status == 400


def test_writing_is_refused(emulator: Emulator) -> None:
    """A signed PATCH is understood and refused: the key may only read."""
    with connected(emulator.api_url) as connection:
        values = {"api_key": emulator.api_key, "expires": "1500000300"}
        body = b'{"name":"x"}'
        path = f"/v2/assets/{CLIP}"
        signature = sign(emulator.api_secret, "PATCH", path, values, body)
        query = f"api_key={emulator.api_key}&expires=1500000300&signature={quote(signature, '')}"
        connection.request("PATCH", f"{path}?{query}", body)
        response = connection.getresponse()
        assert response.status == 403
        assert b"read-only" in response.read()


def test_headers_of_every_answer(emulator: Emulator, clock: ManualClock) -> None:
    """Recorded headers, the budget, and ``Date`` by the emulator's clock; no validators."""
    reply = call(emulator, "/v2/labels")
    assert reply.headers["Content-Type"].startswith("application/json")
    assert reply.headers["Cache-Control"] == "no-cache"
    assert re.fullmatch("[0-9a-f]{32}", reply.headers["Ooyala-Request-Id"])
    assert reply.headers["Date"] == "Fri, 14 Jul 2017 02:40:00 GMT"
    assert (reply.headers["X-RateLimit-Credits"], reply.headers["X-RateLimit-Reset"]) == (
        "299",
        "60",
    )
    assert not {"ETag", "Last-Modified"} & set(reply.headers)


def test_rate_limit(library: Library, clock: ManualClock) -> None:
    """Failed calls are charged; then 429 with the seconds in its text, no ``Retry-After``."""
    with Emulator(library, EmulatorSettings(clock=clock.now, rate_limit=2)) as emulator:
        assert exchange(emulator.api_url, "/v2/assets").headers["X-RateLimit-Credits"] == "1"
        assert call(emulator, "/v2/labels").headers["X-RateLimit-Credits"] == "0"
        clock.advance(5)
        refused = call(emulator, "/v2/labels")
        assert refused.status == 429
        assert refused.headers["X-RateLimit-Credits"] == "0"
        assert refused.headers["X-RateLimit-Reset"] == "55"
        assert refused.headers["Retry-After"] is None
        assert refused.json["message"].endswith("Try again after 55 seconds.")
        clock.advance(55)
        assert call(emulator, "/v2/labels").status == 200


def test_rate_limit_off(library: Library, clock: ManualClock) -> None:
    """Without a limit there are no budget headers."""
    with Emulator(library, EmulatorSettings(rate_limit=None)) as emulator:
        assert call(emulator, "/v2/labels").headers["X-RateLimit-Credits"] is None


def test_cdn_host(library: Library, clock: ManualClock) -> None:
    """No budget; an answer is kept five minutes by its exact URL, errors are not."""
    with Emulator(library, EmulatorSettings(clock=clock.now, rate_limit=1)) as emulator:
        cdn = emulator.cdn_url
        assert cdn is not None
        target = signed_target(emulator, f"/v2/assets/{CLIP}", expires="1600000000")
        first = exchange(cdn, target)
        emulator.library.edit(CLIP, title="New")
        clock.advance(299)
        second = exchange(cdn, target)
        assert second.body == first.body
        assert second.headers["Age"] == "299"
        assert first.headers["X-RateLimit-Credits"] is None
        other = signed_target(emulator, f"/v2/assets/{CLIP}", expires="1600000001")
        assert exchange(cdn, other).json["name"] == "New"
        clock.advance(1)
        assert exchange(cdn, target).json["name"] == "New"
        assert exchange(cdn, "/v2/assets").status == 400
        assert exchange(cdn, target, "POST").status == 405
        later = signed_target(emulator, f"/v2/assets/{'l' * 32}", expires="1600000000")
        assert exchange(cdn, later).status == 404
        emulator.library.add(EmulatedAsset("l" * 32, "Later"))
        assert exchange(cdn, later).json["name"] == "Later"
        assert call(emulator, "/v2/labels").status == 200


def test_no_cdn(library: Library) -> None:
    """The second port can be left out."""
    with Emulator(library, EmulatorSettings(cdn=False)) as emulator:
        assert emulator.cdn_url is None
        assert call(emulator, "/v2/labels").status == 200


def test_settings_hide_the_secret() -> None:
    """A settings object in a log or a traceback gives nothing away."""
    settings = EmulatorSettings()
    assert settings.api_secret not in repr(settings)
    assert len(settings.api_key) == 34
    assert len(settings.api_secret) == 40
    assert replace(settings, port=1).source_secret == settings.source_secret
