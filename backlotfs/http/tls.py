"""One TLS context for the API and the source hosts: certificate and host name always verified."""

from __future__ import annotations

import functools
import os
import ssl

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from backlotfs.errors import SettingsError


@functools.cache  # a system has hundreds of authorities: reading them takes 27 ms each time
def client_context(ca_bundle: str | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer, towards hosts that can prove their names. Shared by all threads.

    :param ca_bundle: PEM file of the authorities to trust *instead of* the system's. On a system
        that has none, those that come with `requests` stand in.
    :raises SettingsError: when it cannot be read or holds no certificate.
    """
    if ca_bundle is None:
        context = ssl.create_default_context()
        if not _has_authorities():
            context.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
    else:
        try:
            context = ssl.create_default_context(cafile=ca_bundle)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            why = getattr(error, "strerror", None)
            reason = "holds no certificate" if isinstance(error, ssl.SSLError) else why
            raise SettingsError(f"the CA file {ca_bundle} {reason or 'cannot be read'}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _has_authorities() -> bool:
    # a folder of certificates is read name by name, when one is needed: no counting beforehand
    paths = ssl.get_default_verify_paths()
    return any(path is not None and os.path.exists(path) for path in (paths.cafile, paths.capath))
