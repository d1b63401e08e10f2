# SPDX-License-Identifier: Apache-2.0
"""Secrets in the desktop's key store (GNOME Keyring, KWallet …); needs the extra `keyring`.

A secret is saved under the name of a service (`SERVICE`, or another from the profile) and the API
key. Logging in unlocks the store, so a mount at boot cannot use it.
"""

from __future__ import annotations

from types import ModuleType

from backlotfs.errors import SettingsError, install_extra

#: The default name of the service.
SERVICE = "backlotfs"
#: Lowest priority of a secure store; `keyring` gives a lower one to files in plain text.
_SOUND = 1.0
_ELSEWHERE = "save the secret in a file: api_secret_file of the profile"


def secret_of(service: str, api_key: str) -> str:
    """The secret that is saved for this key.

    :raises SettingsError: there is no secret or no store; says what to do.
    """
    keyring = _keyring()
    try:
        secret = keyring.get_password(service, api_key)
    except keyring.errors.KeyringError as error:
        raise _unusable(error) from None
    if not secret:
        raise SettingsError(
            f"the key store ({name()}) has no secret {service!r} for this key; "
            "save it there: backlotfs config init --keyring --force"
        )
    return str(secret)


def save_secret(service: str, api_key: str, secret: str) -> None:
    """Save the secret; replaces an earlier one.

    :raises SettingsError: there is no store, it is locked, or it saves secrets as plain text.
    """
    keyring = _keyring()
    store = keyring.get_keyring()
    if store.priority < _SOUND:
        raise SettingsError(f"{store.name} does not store secrets securely; {_ELSEWHERE}")
    try:
        keyring.set_password(service, api_key, secret)
    except keyring.errors.KeyringError as error:
        raise _unusable(error) from None


def name() -> str:
    """The name of the store, for people. :raises SettingsError: `keyring` is not installed."""
    return str(_keyring().get_keyring().name)


def _keyring() -> ModuleType:
    try:
        import keyring
        import keyring.errors
    except ImportError:
        how = install_extra("keyring")
        raise SettingsError(f"the key store needs an extra; install it: {how}") from None
    return keyring


def _unusable(error: Exception) -> SettingsError:
    # show only the type: the message of a store may contain a secret
    return SettingsError(f"the key store cannot be used: {type(error).__name__}; {_ELSEWHERE}")
