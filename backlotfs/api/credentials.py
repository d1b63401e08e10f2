"""The API key and its secret, which never shows itself."""

from __future__ import annotations

from dataclasses import dataclass

from backlotfs.errors import SettingsError


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What requests are signed with. Immutable; ``repr`` and ``str`` show only the account.

    :ivar api_key: ``<account>.<suffix>``; a rotated key keeps its account.
    :ivar api_secret: never shown, logged or sent.
    """

    api_key: str
    api_secret: str

    def __post_init__(self) -> None:
        """Refuse what a stray newline or an empty variable makes of a key.

        :raises SettingsError: names the field, never its value.
        """
        for name, value in (("API key", self.api_key), ("API secret", self.api_secret)):
            if not value:
                raise SettingsError(f"the {name} is empty")
            if not value.isprintable() or any(letter.isspace() for letter in value):
                raise SettingsError(f"the {name} holds a space or a control character")

    @property
    def account(self) -> str:
        """The part of the key before the dot: the same for every key of one account."""
        return self.api_key.partition(".")[0]

    def __repr__(self) -> str:
        return f"Credentials({self.account}.***, ***)"
