"""The desktop's key store: GNOME Keyring, KWallet and the like, by `keyring`, which is an extra.

A secret lies there under a service's name, `SERVICE` unless the profile says another, and the
account's key. The store is unlocked by whoever is logged in: it is of no use to a mount at boot.
"""

from __future__ import annotations

from types import ModuleType

from backlotfs.errors import SettingsError

#: Under this name, beside those of other programs.
SERVICE = "backlotfs"
#: `keyring`'s own measure of a store that deserves the name; files in the clear have less.
_SOUND = 1.0
_ELSEWHERE = "put it into a file: api_secret_file of the profile"


def secret_of(service: str, api_key: str) -> str:
    """What is kept there for this key.

    :raises SettingsError: nothing is, or there is no store; names the remedy.
    """
    keyring = _keyring()
    try:
        secret = keyring.get_password(service, api_key)
    except keyring.errors.KeyringError as error:
        raise _unusable(error) from None
    if not secret:
        raise SettingsError(
            f"the key store ({name()}) has no secret {service!r} for this key; "
            "put it there: backlotfs config init --keyring --force"
        )
    return str(secret)


def keep_secret(service: str, api_key: str, secret: str) -> None:
    """Keep it there, in the place of one that was.

    :raises SettingsError: there is no store, it is locked, or it would keep it in the clear.
    """
    keyring = _keyring()
    store = keyring.get_keyring()
    if store.priority < _SOUND:
        raise SettingsError(f"{store.name} is no key store that keeps secrets; {_ELSEWHERE}")
    try:
        keyring.set_password(service, api_key, secret)
    except keyring.errors.KeyringError as error:
        raise _unusable(error) from None


def name() -> str:
    """What the store is called, for people. :raises SettingsError: `keyring` is not installed."""
    return str(_keyring().get_keyring().name)


def _keyring() -> ModuleType:
    try:
        import keyring
        import keyring.errors
    except ImportError:
        raise SettingsError(
            "the key store needs an extra: pip install 'backlotfs[keyring]'"
        ) from None
    return keyring


def _unusable(error: Exception) -> SettingsError:
    # the kind only: a store's own words may be anything
    return SettingsError(f"the key store cannot be used: {type(error).__name__}; {_ELSEWHERE}")
