# SPDX-License-Identifier: Apache-2.0
"""The desktop's key store, through `keyring`'s own interface, with one in memory."""

from __future__ import annotations

import builtins
import stat
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import keyring
import keyring.backend
import keyring.errors
import pytest
from click.testing import CliRunner

from backlotfs.cli import commands
from backlotfs.config import keyring_store
from backlotfs.config.profiles import load_account
from backlotfs.errors import SettingsError
from backlotfs.log.redaction import MARK, redacted

KEY, SECRET = "key-of-the-account", "planted-secret-in-the-store"


class Memory(keyring.backend.KeyringBackend):
    """A store that lives as long as a test.

    :ivar error: raised instead of an answer.
    """

    priority = 5

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # its author left it so
        self.kept: dict[tuple[str, str], str] = {}
        self.error: Exception | None = None

    @property
    def name(self) -> str:
        """As people know it."""
        return "Memory"

    def get_password(self, service: str, username: str) -> str | None:
        """What is kept."""
        if self.error is not None:
            raise self.error
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep it."""
        if self.error is not None:
            raise self.error
        self.kept[service, username] = password


@pytest.fixture
def store() -> Iterator[Memory]:
    """In the place of the desktop's."""
    before, memory = keyring.get_keyring(), Memory()
    keyring.set_keyring(memory)
    yield memory
    keyring.set_keyring(before)


@pytest.fixture
def config(store: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile made by ``config init --keyring``, its secret in the store."""
    monkeypatch.setattr(import_module("backlotfs.cli.config"), "check_api", lambda *_words: None)
    path = tmp_path / "config.toml"
    for name, value in (("KEY", KEY), ("SECRET", SECRET), ("URL", "http://127.0.0.1:9")):
        monkeypatch.setenv(f"BACKLOT_API_{name}", value)
    words = ["config", "init", "--keyring", "--profile", "main", "--config", str(path)]
    done = CliRunner().invoke(commands, words)
    assert done.exit_code == 0, done.output
    assert "Saved the secret in the key store (Memory)." in done.output
    for name in ("KEY", "SECRET", "URL"):
        monkeypatch.delenv(f"BACKLOT_API_{name}")
    return path


def test_the_profile_holds_no_secret(config: Path, store: Memory) -> None:
    """It names where it is; the file is private all the same."""
    assert store.kept == {(keyring_store.SERVICE, KEY): SECRET}
    assert SECRET not in config.read_text()
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    account = load_account({}, config=config, profile="main")
    assert (account.api_key, account.api_secret) == (KEY, SECRET)
    assert account.secret_place == "the key store (Memory)"
    assert redacted(f"x {SECRET}") == f"x {MARK}"


def test_doctor_says_where_it_is(config: Path) -> None:
    """And not what it is."""
    words = ["doctor", "--config", str(config), "--profile", "main"]
    done = CliRunner().invoke(commands, words)
    assert "the secret is from the key store (Memory)" in done.output
    assert SECRET not in done.output


def test_a_secret_that_is_not_there(config: Path, store: Memory) -> None:
    """Its line names what puts it there."""
    store.kept.clear()
    with pytest.raises(SettingsError, match="config init --keyring --force"):
        load_account({}, config=config, profile="main")


@pytest.mark.parametrize(
    "error", [keyring.errors.KeyringLocked(SECRET), keyring.errors.NoKeyringError()]
)
def test_a_store_that_cannot_be_used(config: Path, store: Memory, error: Exception) -> None:
    """Locked, or none at all, as on a server: another place is named, and nothing repeated."""
    store.error = error
    for fail in (
        lambda: load_account({}, config=config, profile="main"),
        lambda: keyring_store.save_secret("s", KEY, SECRET),
    ):
        with pytest.raises(SettingsError, match="api_secret_file") as caught:
            fail()
        assert SECRET not in str(caught.value)


def test_a_store_in_the_clear_is_refused(store: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that anybody can decode is what was to be avoided."""
    monkeypatch.setattr(Memory, "priority", 0.5)
    with pytest.raises(SettingsError, match="does not store secrets securely"):
        keyring_store.save_secret(keyring_store.SERVICE, KEY, SECRET)
    assert store.kept == {}


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that installs it."""
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name.partition(".")[0] == "keyring":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"pip install 'backlotfs\[keyring\]'"):
        keyring_store.secret_of(keyring_store.SERVICE, KEY)
