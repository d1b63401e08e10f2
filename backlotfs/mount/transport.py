# SPDX-License-Identifier: Apache-2.0
"""Builds the parts that every GET of a source uses: connections, address policy, host counters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from backlotfs import __version__
from backlotfs.concurrency.clock import Clock
from backlotfs.config.settings import Account
from backlotfs.fetch.hosts import HostRegistry
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.backoff import RetryPolicy
from backlotfs.http.circuit_breaker import Breakers
from backlotfs.http.dialer import Dialer, check_ca_bundle, client_context
from backlotfs.http.pool import ConnectionPool
from backlotfs.log.traces import Tracing
from backlotfs.source.host_shares import HostShares
from backlotfs.source.signed_get import SignedGet, UrlSource

USER_AGENT = f"backlotfs/{__version__}"


@dataclass(frozen=True, slots=True)
class Transport:
    """The parts that every GET of a source uses.

    :ivar hosts: counts the GETs, and measures each host.
    :ivar breakers: the circuit breakers of the hosts.
    """

    connections: ConnectionPool
    policy: SourcePolicy
    clock: Clock
    hosts: HostRegistry
    breakers: Breakers

    @classmethod
    def of(cls, account: Account, clock: Clock, tracing: Tracing | None = None) -> Transport:
        """Connect nothing yet. :raises SettingsError: see `check_ca_bundle`."""
        policy = SourcePolicy.of(account.api_url, account.allow_source_hosts)
        check_ca_bundle(account.ca_bundle)
        tls = partial(client_context, account.ca_bundle)
        dialer = Dialer(policy, tls, proxy=account.proxy)
        breakers = Breakers(clock)
        pool = ConnectionPool(dialer, user_agent=USER_AGENT, breakers=breakers)
        return cls(pool, policy, clock, HostRegistry(clock, tracing), breakers)

    def signed_get(self, urls: UrlSource, shares: HostShares | None = None) -> SignedGet:
        """Make a `SignedGet`; ``shares`` limits its concurrent requests to each host."""
        return SignedGet(
            urls,
            self.connections,
            self.clock,
            RetryPolicy(),
            policy=self.policy,
            meter=self.hosts,
            shares=shares,
        )
