# SPDX-License-Identifier: Apache-2.0
"""No URL, whatever it is made of and wherever it stands, shows its query."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.api.records import SignedUrl
from backlotfs.log.redaction import MARK, redacted

TOKEN = "PLANTED0123456789"
#: Everything a URL may be sent with: our parser takes all of printable ASCII but the space.
printable = "".join(map(chr, range(33, 127)))
path_text = st.text("abcXYZ0129-._~%/", max_size=20)
any_text = st.text(printable, max_size=20)
names = st.sampled_from(
    [
        "Signature", "AWSAccessKeyId", "Expires", "X-Amz-Credential", "X-Amz-Signature", "Policy",
        "X-Amz-Security-Token", "Key-Pair-Id", "token", "api_key", "signature", "access_token",
    ]
)  # fmt: skip
around = st.sampled_from(
    ["{}", "GET {} HTTP/1.1", "('{}',)", '{{"url":"{}","n":1}}', "<Url>{}</Url>", "see {}: why",
     "b'GET {} HTTP/1.1\\r\\nHost: h'", "{}\n{}", "url={}; x", "[{}] [{}]"]
)  # fmt: skip


@given(st.sampled_from(["http://h", "https://h.example:8443", ""]), path_text, any_text, any_text)
def test_a_query_goes_whole(origin: str, path: str, before: str, after: str) -> None:
    """Also one with quotes, brackets or further question marks in it; host and path stay."""
    shown = redacted(f"{origin}/{path}?{before}{TOKEN}{after}")
    assert TOKEN not in shown
    assert shown.startswith(f"{origin}/{path}?{MARK}")


@given(around, path_text, names, any_text)
def test_in_any_surroundings(text: str, path: str, name: str, value: str) -> None:
    """Quoted, in JSON, in XML, in a repr, twice on a line."""
    shown = redacted(text.replace("{}", f"http://h/{path}?{name}={TOKEN}{value}"))
    assert TOKEN not in shown
    assert f"http://h/{path}?" in shown
    assert MARK in shown


@given(names, st.sampled_from(["=", "%3D", "%3d", "%253D"]), st.text("abcXYZ019%+/-", max_size=9))
def test_a_parameter_alone(name: str, equals: str, value: str) -> None:
    """Without a URL, or from the middle of one that was encoded as a whole."""
    for begin in ("", "&", "%26", "%3F", " ", "'", "("):
        shown = redacted(f"{begin}{name}{equals}{TOKEN}{value}")
        assert TOKEN not in shown
        assert shown.startswith(f"{begin}{name}{equals}{MARK}")


@given(st.text())
def test_twice_is_once(text: str) -> None:
    """A record may pass the filter and then the formatter."""
    once = redacted(f"{text} http://h/p?a=b {text}")
    assert redacted(once) == once


@given(st.text(printable, min_size=1), st.text())
def test_a_named_secret_is_nowhere(secret: str, text: str) -> None:
    """As it is, or as URLs encode it."""
    shown = redacted(f"{text} {secret} {quote(secret, safe='')}", [secret])
    if secret not in MARK and not MARK.startswith(secret):
        assert f" {secret} " not in shown


@given(path_text, any_text)
def test_our_own_objects(path: str, value: str) -> None:
    """What holds a signed URL shows neither in text nor in repr what was behind the mark."""
    url = SignedUrl.parse(f"http://h/{path}?Signature={TOKEN}{value}")
    for shown in (str(url), repr(url), f"{url}", repr([url]), repr({"url": url})):
        assert TOKEN not in shown
        assert f"/{path}?{MARK}" in shown
