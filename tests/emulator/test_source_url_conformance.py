# SPDX-License-Identifier: Apache-2.0
"""Signed source URLs over real sockets: how they live, die, and break when they are touched."""

from __future__ import annotations

import pytest

from backlotfs.emulator import Emulator, EmulatorSettings, Library
from tests.emulator.conftest import CLIP, CLIP_SIZE, HUGE
from tests.emulator.probe import (
    connected,
    error_elements,
    exchange,
    get,
    source_entry,
    target_of,
    true_bytes,
)
from tests.fakes.clocks import ManualClock


def test_expired(emulator: Emulator, clock: ManualClock) -> None:
    """403 ``AccessDenied``, "Request has expired", with both times in ISO."""
    url = emulator.source_url(CLIP)
    clock.advance(72 * 3600)
    assert get(url, Range="bytes=0-0").status == 206
    clock.advance(1)
    reply = get(url, Range="bytes=0-0")
    found = error_elements(reply)
    assert reply.status == 403
    assert (found["Code"], found["Message"]) == ("AccessDenied", "Request has expired")
    assert (found["Expires"], found["ServerTime"]) == (
        "2017-07-17T02:40:00Z",
        "2017-07-17T02:40:01Z",
    )


def test_a_url_of_an_object_that_was_kept(emulator: Emulator) -> None:
    """It serves what it was given for, while new URLs lead to the replacement."""
    old_url, old_bytes = emulator.source_url(CLIP), true_bytes(emulator, CLIP, 0, CLIP_SIZE)
    emulator.library.replace(CLIP, content=b"new", keep_old=True)
    assert get(old_url).body == old_bytes
    assert get(emulator.source_url(CLIP)).body == b"new"
    emulator.library.replace(CLIP, content=b"newer")
    assert get(old_url).body == old_bytes
    emulator.library.delete(CLIP)
    assert get(old_url).status == 404


def test_each_call_mints_a_new_expires(emulator: Emulator, clock: ManualClock) -> None:
    """The query changes with time, the path does not."""
    first = source_entry(emulator, CLIP)["url"]
    clock.advance(1)
    second = source_entry(emulator, CLIP)["url"]
    assert first != second
    assert first.partition("?")[0] == second.partition("?")[0]


def test_expire_urls(emulator: Emulator) -> None:
    """All URLs until now are dead, the next one lives, also within the same second."""
    for _ in range(3):
        url = emulator.source_url(CLIP)
        assert get(url, Range="bytes=0-0").status == 206
        emulator.expire_urls()
        found = error_elements(get(url, Range="bytes=0-0"))
        assert found["Message"] == "Request has expired"
        assert found["Expires"] < found["ServerTime"]


def test_lifetime_of_one_second(library: Library, clock: ManualClock) -> None:
    """The shortest lifetime is a second, and it is one."""
    clock.advance(0.5)
    with Emulator(library, EmulatorSettings(clock=clock.now, url_lifetime_s=1.0)) as emulator:
        url = emulator.source_url(CLIP)
        clock.advance(1.5)
        assert get(url, Range="bytes=0-0").status == 206
        clock.advance(0.1)
        assert get(url, Range="bytes=0-0").status == 403


def test_transfer_outlives_its_url(emulator: Emulator, clock: ManualClock) -> None:
    """Expiry is judged when a request starts; what runs, runs on."""
    url = emulator.source_url(HUGE)
    with connected(url) as connection:
        connection.request("GET", target_of(url), headers={"Range": "bytes=0-33554431"})
        response = connection.getresponse()
        begun = response.read(1000)
        clock.advance(100 * 3600)
        assert get(url).status == 403
        assert begun + response.read() == true_bytes(emulator, HUGE, 0, 33_554_432)


def test_decoded_slash(emulator: Emulator) -> None:
    """A client that decodes ``%2F`` breaks the signature, and is shown what was signed."""
    url = emulator.source_url(CLIP).replace("%2F", "/", 1)
    reply = get(url)
    found = error_elements(reply)
    assert (reply.status, found["Code"]) == (403, "SignatureDoesNotMatch")
    assert f"/cms.ooyala.com/{CLIP}/0000000000000-" in found["StringToSign"]
    assert found["SignatureProvided"].endswith("=")


def test_head(emulator: Emulator) -> None:
    """A URL signed for GET never works for HEAD; the answer has no body."""
    url = emulator.source_url(CLIP)
    reply = exchange(url, target_of(url), "HEAD")
    assert (reply.status, reply.body) == (403, b"")


@pytest.mark.parametrize("name", ["Content_Type", "Content_MD5", "X_Amz_Date"])
def test_added_headers(emulator: Emulator, name: str) -> None:
    """A session's default Content-Type, or any x-amz-* header, breaks the signature."""
    reply = get(emulator.source_url(CLIP), **{name: "application/json"})
    assert (reply.status, error_elements(reply)["Code"]) == (403, "SignatureDoesNotMatch")


def test_authorization_header(emulator: Emulator) -> None:
    """Two kinds of credentials at once: 400."""
    reply = get(emulator.source_url(CLIP), Authorization="Basic eDp5")
    assert (reply.status, error_elements(reply)["Code"]) == (400, "InvalidArgument")


def test_mangled_queries(emulator: Emulator) -> None:
    """Each parameter is needed and checked; the stray ``&`` and added names are not."""
    url = emulator.source_url(CLIP)
    path, _, query = url.partition("?")
    signature, expires, key = query.rstrip("&").split("&")
    cases = {
        f"{path}?{expires}&{key}": "AccessDenied",
        f"{path}?{signature}&{key}": "AccessDenied",
        path: "AccessDenied",
        f"{path}?{signature}&Expires=soon&{key}": "AccessDenied",
        f"{path}?{signature}&{expires}&AWSAccessKeyId=AKIAOTHER": "InvalidAccessKeyId",
        f"{path}?{signature}&{expires}1&{key}": "SignatureDoesNotMatch",
        f"{path}?Signature=AAAA&{expires}&{key}": "SignatureDoesNotMatch",
        f"{url}versionId=7": "SignatureDoesNotMatch",
    }
    for bad, code in cases.items():
        reply = get(bad)
        assert (reply.status, error_elements(reply)["Code"]) == (403, code), bad
    for good in (f"{path}?{key}&{signature}&{expires}", f"{url}name=v"):
        assert get(good, Range="bytes=0-0").status == 206


def test_other_source_host(library: Library) -> None:
    """URLs can point at another server, signed as ever."""
    settings = EmulatorSettings(source_base_url="http://origin.test:81/")
    with Emulator(library, settings) as emulator:
        url = source_entry(emulator, CLIP)["url"]
        assert url.startswith(f"http://origin.test:81/{CLIP}%2F0000000000000-")
