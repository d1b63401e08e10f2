"""Where a source host sends us, and whether we go there. Pure.

A redirect is followed to the same host and port, from ``http`` up to ``https`` on the same host,
and to hosts that the allow-list names; never from ``https`` down to ``http``, and never in a
circle. Nothing goes along but the range and the validator: no ``Referer``, so the signed query
stays where it was.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urljoin, urlsplit

from backlotfs.api.records import SignedUrl
from backlotfs.errors import InvalidRangeResponse, ProtocolViolation
from backlotfs.http.address_policy import SourcePolicy, SourceRefused, plain_host

#: Redirects followed for one GET.
MAX_REDIRECTS = 5


class RedirectChain:
    """The hops of one GET, from the signed URL on; one thread's."""

    def __init__(self, signed_url: str, policy: SourcePolicy) -> None:
        self._hops = [signed_url]
        self._policy = policy

    @property
    def url(self) -> str:
        """What to ask now, byte for byte."""
        return self._hops[-1]

    def follow(self, location: str) -> None:
        """Take one more hop, or raise.

        :param location: the answer's header; ``""`` if there was none.
        :raises SourceRefused: to another host that is not listed, or from https down to http.
        :raises InvalidRangeResponse: no usable URL, a circle, or more hops than `MAX_REDIRECTS`.
        """
        here = urlsplit(self.url)
        target = _target(self.url, location)
        if target is None:
            raise InvalidRangeResponse(
                f"source host {here.hostname} redirects, but to no usable URL"
            )
        there = urlsplit(target)
        if (here.scheme, there.scheme) == ("https", "http"):
            raise SourceRefused(
                f"source host {here.hostname} redirects from https to http: not followed"
            )
        known = _same_host(here, there) or _same_host(urlsplit(self._hops[0]), there)
        if not known and not self._policy.names(there.hostname):
            raise self._policy.refused_redirect(here.hostname or "", there.hostname)
        if target in self._hops or len(self._hops) > MAX_REDIRECTS:
            raise InvalidRangeResponse(f"source host {here.hostname} redirects in a circle")
        self._hops.append(target)


def _target(current: str, location: str) -> str | None:
    if not location:
        return None
    try:
        # an absolute one is taken byte for byte, as a signed URL is
        target = location if urlsplit(location).netloc else urljoin(current, location)
        scheme = urlsplit(current).scheme
        return SignedUrl.parse(f"{scheme}:{target}" if target.startswith("//") else target).url
    except (ValueError, ProtocolViolation):
        return None


def _same_host(here: SplitResult, there: SplitResult) -> bool:
    if plain_host(here.hostname) != plain_host(there.hostname):
        return False
    upgraded = (here.scheme, there.scheme) == ("http", "https") and _default_ports(here, there)
    return upgraded or (here.scheme, _port(here)) == (there.scheme, _port(there))


def _default_ports(here: SplitResult, there: SplitResult) -> bool:
    return (_port(here), _port(there)) == (80, 443)


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
