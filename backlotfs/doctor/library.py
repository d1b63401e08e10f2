"""The API, its clock and its certificate, and whether one source can be read in ranges."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from backlotfs.api.client import ApiClient
from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.catalog.library import SOURCE_TYPES, AssetFilter
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.settings import Account
from backlotfs.doctor.finding import Finding, failed, failed_by, fine, note
from backlotfs.errors import BacklotError, ClockSkewed, SourceGone, SourceMissing
from backlotfs.fetch.hosts import HostRegistry
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.backoff import RetryPolicy
from backlotfs.http.dialer import Dialer, client_context
from backlotfs.http.pool import ConnectionPool
from backlotfs.mount.stack import USER_AGENT, open_api, open_api_session
from backlotfs.source.range_reader import SourceProbe
from backlotfs.source.signed_get import SignedGet
from backlotfs.source.url_resolver import UrlResolver

#: To connect, and for one byte of a source.
ANSWER_S = 8.0
#: A clock this far off is worth a word; signatures live for minutes.
SKEW_S = 30.0
#: A certificate that ends sooner is worth a word.
CERTIFICATE_DAYS = 14
#: Assets whose source is tried, should the first have none: each costs a call of the API.
SOURCES_TRIED = 3
_SET_CLOCK = "timedatectl set-ntp true"
_UNREACHABLE = 4


def check_library(account: Account, clock: Clock) -> Iterator[Finding]:
    """TLS, API, clock, source, in this order; what an earlier one makes pointless is left out."""
    tls = check_tls(account)
    yield tls
    if tls.exit_code:
        return
    try:
        session = open_api_session(account)
    except BacklotError as error:
        yield failed_by("API", error)
        return
    with session:
        api = open_api(account, clock, session, page_limit=20)
        try:
            page = next(api.iter_pages(deadline=Deadline(account.limits.greeting_s, clock)), None)
        except ClockSkewed as error:
            yield failed_by("clock", error, _SET_CLOCK)
            return
        except BacklotError as error:
            yield failed_by("API", error)
            return
        assets = page.items if page is not None else ()
        yield fine("API", f"{urlsplit(account.api_url).hostname} answers, and accepts the key")
        yield check_clock(api.clock_skew_s)
        admit = AssetFilter(SOURCE_TYPES)
        codes = [a.embed_code for a in assets if admit.admits(a.asset_type, a.status)]
        yield check_source(account, api, clock, codes[:SOURCES_TRIED])


def check_tls(account: Account) -> Finding:
    """Can the host prove its name, and for how long?"""
    parts = urlsplit(account.api_url)
    host = parts.hostname or ""
    if parts.scheme != "https":
        return note("TLS", f"the API of {host} is spoken to in the clear", "use https:// if it can")
    try:
        context = client_context(account.ca_bundle)
        with (
            socket.create_connection((host, parts.port or 443), ANSWER_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            ends = ssl.cert_time_to_seconds(str((secured.getpeercert() or {})["notAfter"]))
            version = secured.version()
    except BacklotError as error:
        return failed_by("TLS", error)
    except ssl.SSLCertVerificationError as error:
        return failed(
            "TLS",
            f"the certificate of {host} is not trusted: {error.verify_message}",
            "apt-get install ca-certificates, or name the authority: --ca-bundle FILE",
            _UNREACHABLE,
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return failed(
            "TLS", f"{host}: {reason}", f"see whether curl -I https://{host}/ works", _UNREACHABLE
        )
    days = int((ends - time.time()) // 86400)
    if days < CERTIFICATE_DAYS:
        return note("TLS", f"the certificate of {host} ends in {days} days", "tell its owner")
    return fine("TLS", f"{version}, {host} is who it says, for {days} days more")


def check_clock(skew_s: float) -> Finding:
    """Is this machine's clock the server's? ``skew_s``: the server's minus ours."""
    if abs(skew_s) < SKEW_S:
        return fine("clock", f"within {max(1, round(abs(skew_s)))} s of the API's")
    word = "behind" if skew_s > 0 else "ahead of"
    return note("clock", f"{abs(skew_s):.0f} s {word} the API's; requests are adjusted", _SET_CLOCK)


def check_source(account: Account, api: ApiClient, clock: Clock, codes: list[str]) -> Finding:
    """Does the host of one source answer ranges? The first of ``codes`` that has a source tells."""
    policy = SourcePolicy.of(account.api_url, account.allow_source_hosts)
    dialer = Dialer(policy, client_context(account.ca_bundle))
    connections = ConnectionPool(dialer, user_agent=USER_AGENT)
    resolver = UrlResolver(api, ApiRateLimiter(clock), clock)
    signed_get = SignedGet(
        resolver, connections, clock, RetryPolicy(), policy=policy, meter=HostRegistry(clock)
    )
    probe = SourceProbe(signed_get)
    try:
        for code in codes:
            try:
                identity = probe.probe(code, Deadline(account.limits.probe_s, clock))
            except (SourceMissing, SourceGone):
                continue
            except BacklotError as error:
                return failed_by(
                    "sources", error, "look at the source host; see also --allow-source-host"
                )
            kind = "an ETag" if identity.etag else "no ETag: replaced sources are seen by time only"
            return fine("sources", f"{code}: {identity.size} bytes, served in ranges, with {kind}")
    finally:
        connections.close()
    return note("sources", "none was tried: the newest assets have no source file")
