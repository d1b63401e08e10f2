# SPDX-License-Identifier: Apache-2.0
"""Who we are for the API, from wherever it may be said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backlotfs.config.profiles import config_path, load_account
from backlotfs.config.settings import SecretOrigin
from backlotfs.errors import SettingsError
from backlotfs.log import redaction

KEY = {"BACKLOT_API_KEY": "env-key"}
SECRET = {"BACKLOT_API_SECRET": "env-secret"}

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(redaction, "_hidden", ())  # what is hidden here is hidden here alone


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Makes a file that its owner alone can read."""

    def make(text: str, name: str = "profiles.toml", mode: int = 0o600) -> Path:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        return path

    return make


def test_environment_alone() -> None:
    """Key and secret of the environment do; the hosted service is the default."""
    account = load_account(KEY | SECRET)
    assert (account.api_key, account.api_secret) == ("env-key", "env-secret")
    assert account.api_url == "https://api.ooyala.com"
    assert account.cdn_url == "https://cdn-api.ooyala.com"
    assert account.profile is None


def test_the_only_profile_has_its_name(write: Write) -> None:
    """In the mount's source, in the log's name, in status."""
    path = write('[profiles.studio]\napi_key = "k"\napi_secret = "s"\n')
    account = load_account({}, config=path)
    assert (account.profile, account.source) == ("studio", "backlot:studio")


def test_option_beats_environment_beats_profile(write: Write) -> None:
    """Each source stands in where the one before it is silent."""
    config = write(
        '[profiles.main]\napi_url = "https://file"\ncdn_url = "https://file-cdn"\n'
        'api_key = "file-key"\napi_secret = "file-secret"\n'
    )
    from_file = load_account({}, config=config)
    assert (from_file.api_url, from_file.cdn_url) == ("https://file", "https://file-cdn")
    assert (from_file.api_key, from_file.api_secret) == ("file-key", "file-secret")
    environ = KEY | SECRET | {"BACKLOT_API_URL": "http://env", "BACKLOT_CDN_URL": "http://env-cdn"}
    from_environ = load_account(environ, config=config, profile="main")
    assert (from_environ.api_url, from_environ.cdn_url) == ("http://env", "http://env-cdn")
    assert (from_environ.api_key, from_environ.api_secret) == ("env-key", "env-secret")
    assert from_environ.profile == "main"
    by_option = load_account(environ, config=config, api_url="http://opt", cdn_url="http://opt-cdn")
    assert (by_option.api_url, by_option.cdn_url) == ("http://opt", "http://opt-cdn")


def test_another_api_host_has_no_cdn() -> None:
    """Only the hosted service had a host of its own for cached answers."""
    assert load_account(KEY | SECRET, api_url="http://localhost:1").cdn_url is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
@pytest.mark.parametrize("which", ["profiles.toml", "secret"])
def test_files_that_others_can_read_are_refused(write: Write, mode: int, which: str) -> None:
    """The message has the command that mends it, and no secret."""
    secret = write("s3cret\n", "secret")
    config = write(f'[profiles.a]\napi_key = "k"\napi_secret_file = "{secret}"\n')
    (config if which == "profiles.toml" else secret).chmod(mode)
    with pytest.raises(SettingsError, match=f"chmod 600 .*{which}") as caught:
        load_account({}, config=config)
    assert "s3cret" not in str(caught.value)


def test_a_file_of_another_user_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else could change it at any moment; root may."""
    config = write('[profiles.a]\napi_key = "k"\napi_secret = "s"\n')
    owner = config.stat().st_uid
    if owner == 0:
        os.chown(config, 12345, -1)
        with pytest.raises(SettingsError, match="belongs to another user"):
            load_account({}, config=config)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        with pytest.raises(SettingsError, match="belongs to another user"):
            load_account({}, config=config)


def test_secret_from_a_file(write: Write) -> None:
    """White space around it is not part of it."""
    secret = write("  s3cret\n", "secret")
    config = write(f'[profiles.a]\napi_key = "k"\napi_secret_file = "{secret}"\n')
    assert load_account({}, config=config).api_secret == "s3cret"


@pytest.mark.parametrize("command", ["'echo s3cret'", '["echo", "s3cret"]'])
def test_secret_from_a_command(write: Write, command: str) -> None:
    """As a command line, or as a list of words; no shell."""
    config = write(f'[profiles.a]\napi_key = "k"\napi_secret_command = {command}\n')
    assert load_account({}, config=config).api_secret == "s3cret"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ('"false"', r"'false' gave no secret \(exit 1\)"),
        ('"true"', r"'true' gave no secret \(exit 0\)"),
        ('["sh", "-c", "echo s3cret; exit 3"]', r"gave no secret \(exit 3\)"),
        ('"/no/such/program s3cret"', "failed: FileNotFoundError"),
        ('["sleep", "30"]', "failed: TimeoutExpired"),
        ("5", "a command line or a list of words"),
        ("[5]", "a command line or a list of words"),
        ('" "', "a command line or a list of words"),
    ],
)
def test_a_command_without_a_secret(
    write: Write, command: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to fail says which command and how, and nothing that it printed."""
    monkeypatch.setattr("backlotfs.config.profiles._SECRET_COMMAND_TIMEOUT_S", 0.5)
    config = write(f'[profiles.a]\napi_key = "k"\napi_secret_command = {command}\n')
    with pytest.raises(SettingsError, match=says) as caught:
        load_account({}, config=config)
    assert "s3cret" not in str(caught.value)


def test_systemd_credentials(tmp_path: Path) -> None:
    """``LoadCredential=`` is the last place that is looked at; one that is absent is no error."""
    (tmp_path / "api_key").write_text("cred-key\n")
    (tmp_path / "api_secret").write_text("cred-secret\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    account = load_account(environ)
    assert (account.api_key, account.api_secret) == ("cred-key", "cred-secret")
    assert load_account(environ | KEY).api_key == "env-key"
    (tmp_path / "api_secret").unlink()
    with pytest.raises(SettingsError, match="no API secret"):
        load_account(environ)


@pytest.mark.parametrize(("environ", "missing"), [(KEY, "secret"), (SECRET, "key"), ({}, "key")])
def test_what_is_missing_is_named(environ: dict[str, str], missing: str) -> None:
    """With both remedies: the environment and a profile."""
    with pytest.raises(SettingsError, match=f"no API {missing}: set BACKLOT_API_KEY .*config init"):
        load_account(environ)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[profiles.a", "not valid TOML"),
        ("x = 1", r"has no \[profiles.NAME\] table"),
        ("[profiles.a]\n[profiles.b]", "several profiles; choose with --profile: a, b"),
        ("[profiles]\na = 1", "no profile a; it has: a"),
        ('[profiles.a]\nsecret = "s3cret"', "profile a: unknown setting 'secret'"),
        ("[profiles.a]\napi_secret = 5", "setting api_secret must be a text"),
        ('[profiles.a]\napi_url = "ftp://x"', "is not http:// or https://"),
        ('[profiles.a]\napi_secret_file = "/no/such"', "/no/such cannot be read"),
    ],
)
def test_malformed_files(write: Write, text: str, says: str) -> None:
    """The message says which file and what is wrong with it, and shows no value."""
    with pytest.raises(SettingsError, match=says) as caught:
        load_account({"BACKLOT_API_KEY": "k"}, config=write(text))
    assert "s3cret" not in str(caught.value)


def test_files_that_cannot_be_read(write: Write, tmp_path: Path) -> None:
    """Absent, not text, or no file at all."""
    with pytest.raises(SettingsError, match="no profile file"):
        load_account({}, config=tmp_path / "absent")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_account({}, config=tmp_path)
    binary = write("", "binary")
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="UTF-8"):
        load_account({}, config=binary)


def test_named_profile_is_looked_for_in_the_usual_place(tmp_path: Path) -> None:
    """``--profile`` alone reads the user's own file."""
    own = tmp_path / "config" / "backlotfs" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text('[profiles.a]\napi_key = "k"\napi_secret = "s"\n[profiles.b]\n')
    own.chmod(0o600)
    assert config_path() == own
    assert load_account({}, profile="a").api_key == "k"
    with pytest.raises(SettingsError, match="no profile c; it has: a, b"):
        load_account({}, profile="c")


def test_the_only_profile_there_is_need_not_be_named(tmp_path: Path) -> None:
    """Unless anything else says where to or as whom: a key is not sent where it does not belong."""
    own = tmp_path / "config" / "backlotfs" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text('[profiles.a]\napi_url = "https://a"\napi_key = "k"\napi_secret = "s"\n')
    own.chmod(0o600)
    assert load_account({}).api_url == "https://a"
    assert load_account(KEY | SECRET).api_url == "https://api.ooyala.com"
    for environ, api_url in (({}, "https://b"), ({"BACKLOT_API_URL": "https://b"}, None)):
        with pytest.raises(SettingsError, match="no API key"):
            load_account(environ, api_url=api_url)
    own.write_text(own.read_text() + "[profiles.b]\n")
    with pytest.raises(SettingsError, match="choose with --profile: a, b"):
        load_account({})


def test_options_of_a_profile(tmp_path: Path) -> None:
    """As ``-o`` takes them; none is an empty text."""
    config = tmp_path / "config.toml"
    config.touch(0o600)
    profile = '[profiles.main]\napi_url = "http://h"\napi_key = "k"\napi_secret = "s"\n'
    config.write_text(profile)
    assert load_account({}, config=config, profile="main").mount_options == ""
    config.write_text(profile + 'options = "allow_other,uid=7"\n')
    assert load_account({}, config=config, profile="main").mount_options == "allow_other,uid=7"


def test_key_and_secret_are_hidden_from_now_on() -> None:
    """From every log line of the process, wherever they came from."""
    load_account({"BACKLOT_API_KEY": "pcode0123.suffx", "BACKLOT_API_SECRET": "s3cretS3CRET/"})
    shown = redaction.redacted("pcode0123.suffx s3cretS3CRET/ s3cretS3CRET%2F")
    assert shown == " ".join([redaction.MARK] * 3)


@pytest.mark.parametrize("which", ["profiles.toml", "secret"])
def test_a_folder_that_others_can_write_to_is_refused(
    write: Write, tmp_path: Path, which: str
) -> None:
    """They could put a file of their own in its place; a sticky folder like /tmp keeps ours."""
    folder = tmp_path / "open"
    folder.mkdir()
    secret = write("s3cret", "secret" if which != "secret" else "open/secret")
    name = "open/profiles.toml" if which == "profiles.toml" else "profiles.toml"
    config = write(f'[profiles.a]\napi_key = "k"\napi_secret_file = "{secret}"\n', name)
    folder.chmod(0o775)
    with pytest.raises(SettingsError, match=f"replace files in {folder}.*chmod go-w {folder}"):
        load_account({}, config=config)
    folder.chmod(0o1777)
    assert load_account({}, config=config).api_secret == "s3cret"


def test_a_link_is_looked_through(write: Write, tmp_path: Path) -> None:
    """What counts is the folder of the file itself, not that of the link to it."""
    folder = tmp_path / "open"
    folder.mkdir()
    config = write('[profiles.a]\napi_key = "k"\napi_secret = "s"\n', "open/real.toml")
    link = tmp_path / "link.toml"
    link.symlink_to(config)
    folder.chmod(0o777)
    with pytest.raises(SettingsError, match="replace files"):
        load_account({}, config=link)


def test_whom_to_trust(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle by option or profile, absolute; hosts of both together."""
    monkeypatch.chdir(tmp_path)
    config = write(
        '[profiles.a]\napi_key = "k"\napi_secret = "s"\nca_bundle = "ca.pem"\n'
        'allow_source_hosts = ["media.lan", "10.1.0.0/16"]\n'
    )
    account = load_account({}, config=config, allow_source_hosts=["here.lan"])
    assert account.ca_bundle == str(tmp_path / "ca.pem")
    assert account.allow_source_hosts == ("here.lan", "media.lan", "10.1.0.0/16")
    account = load_account({}, config=config, ca_bundle=Path("/other.pem"))
    assert account.ca_bundle == "/other.pem"
    account = load_account(KEY | SECRET)
    assert (account.ca_bundle, account.allow_source_hosts) == (None, ())


@pytest.mark.parametrize("value", ['"media.lan"', "[5]", "5"])
def test_hosts_that_are_no_list(write: Write, value: str) -> None:
    """Named."""
    config = write(f'[profiles.a]\napi_key = "k"\napi_secret = "s"\nallow_source_hosts = {value}\n')
    with pytest.raises(SettingsError, match="allow_source_hosts must be a list of texts"):
        load_account({}, config=config)


@pytest.mark.parametrize(
    ("setting", "environ", "origin"),
    [
        ('api_secret = "s"', {}, SecretOrigin.PROFILE),
        ('api_secret = "s"', SECRET, SecretOrigin.ENVIRONMENT),
        ('api_secret_file = "{folder}/secret"', {}, SecretOrigin.FILE),
        ('api_secret_file = "{folder}/link"', {}, SecretOrigin.FILE),
        ('api_secret_command = "echo s"', {}, SecretOrigin.COMMAND),
        ("", {"CREDENTIALS_DIRECTORY": "{folder}"}, SecretOrigin.CREDENTIALS),
        (
            'api_secret_file = "{folder}/api_secret"',
            {"CREDENTIALS_DIRECTORY": "{folder}"},
            SecretOrigin.CREDENTIALS,
        ),
    ],
)
def test_where_the_secret_is_from(
    write: Write, tmp_path: Path, setting: str, environ: dict[str, str], origin: SecretOrigin
) -> None:
    """systemd's credentials are such by any name."""
    for name in ("secret", "api_secret"):
        write("s", name)
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    config = write(f'[profiles.a]\napi_key = "k"\n{setting.format(folder=tmp_path)}\n')
    environ = {name: value.format(folder=tmp_path) for name, value in environ.items()}
    account = load_account(environ, config=config)
    assert account.secret_origin is origin
    assert account.secret_place


TEXT = '[profiles.main]\napi_key = "key"\napi_secret_file = "{secret}"\n'


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        lambda text: text.encode("utf-16"),
        lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    ],
    ids=["UTF-8", "mark", "CR LF", "mark and CR LF", "UTF-16", "UTF-16 BE"],
)
def test_files_as_editors_of_all_systems_write_them(
    tmp_path: Path, encode: Callable[[str], bytes]
) -> None:
    """Neither a byte order mark nor a line end belongs to the secret or to the TOML."""
    secret, config = tmp_path / "secret", tmp_path / "config.toml"
    for path, text in ((secret, "s3cret\n"), (config, TEXT.format(secret=secret))):
        path.write_bytes(encode(text))
        path.chmod(0o600)
    account = load_account({}, config=config)
    assert (account.api_key, account.api_secret) == ("key", "s3cret")


@pytest.mark.parametrize("which", ["config.toml", "secret"])
def test_a_file_in_another_encoding(tmp_path: Path, which: str) -> None:
    """Latin-1, and UTF-16 without a mark, could be read in several ways."""
    secret = tmp_path / "secret"
    for path, text in ((secret, "s3cret"), (tmp_path / "config.toml", TEXT.format(secret=secret))):
        path.write_bytes((f"# Zo\xeb\n{text}" if path.name == which else text).encode("latin-1"))
        path.chmod(0o600)
    with pytest.raises(SettingsError, match=f"{which} .*UTF-8"):
        load_account({}, config=tmp_path / "config.toml")


def test_line_ends_in_variables() -> None:
    """As a file that is read by ``$(cat …)`` on another system leaves them."""
    environ = {
        "BACKLOT_API_KEY": "key\r\n",
        "BACKLOT_API_SECRET": "\ufeffs3cret\n",
        "BACKLOT_API_URL": "http://env\n",
    }
    account = load_account(environ)
    assert (account.api_key, account.api_secret, account.api_url) == ("key", "s3cret", "http://env")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("HTTP://Host:8/Api", "http://Host:8/Api"),
        ("Https://host", "https://host"),
        (" http://host\r\n", "http://host"),
    ],
)
def test_spellings_of_the_api_address(text: str, url: str) -> None:
    """A scheme is the same in every case (RFC 3986 §3.1); what a copy brings along is dropped."""
    found = load_account(KEY | SECRET, api_url=text, cdn_url=text)
    assert (found.api_url, found.cdn_url) == (url, url)


@pytest.mark.parametrize(
    "text", ["host:8", "//host:8", "https:/host:8", "ftp://host:8", '"http://host:8"', "<host:8>"]
)
def test_no_address_of_an_api(text: str) -> None:
    """The message says what to write."""
    with pytest.raises(SettingsError, match=r"; write it like https://host:8$"):
        load_account(KEY | SECRET, api_url=text)


@pytest.mark.parametrize(
    "url",
    ["http://host/v2", "https://host:8/v2/", "https://host/api/v2", "https://host/v2/assets",
     "https://host/api/v2/assets/abc/streams", "https://host/v2/labels/"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["api_url", "cdn_url"])
def test_an_address_with_the_version(url: str, name: str) -> None:
    """Each call adds it; the message has the address without it."""
    with pytest.raises(SettingsError) as caught:
        load_account(KEY | SECRET, **{name: url})  # type: ignore[arg-type]
    assert str(caught.value).endswith(f"write it without: {url[: url.index('/v2')]}")


def test_another_path_may_have_the_version() -> None:
    """As that of a gateway."""
    url = "https://host/v2/backlot"
    assert load_account(KEY | SECRET, api_url=url).api_url == url


def test_the_proxy_of_an_option_the_environment_or_the_profile(write: Write) -> None:
    """In this order; only a profile and the environment may hold a password."""
    config = write(
        '[profiles.a]\napi_key = "k"\napi_secret = "s"\nproxy = "http://me:pass-word@file:1"\n'
    )
    environ = {"BACKLOT_PROXY": "http://me:pass-word@env:2"}
    found = [
        load_account({}, config=config).proxy,
        load_account(environ, config=config).proxy,
        load_account(environ, config=config, proxy="http://option:3").proxy,
        load_account(KEY | SECRET).proxy,
    ]
    assert [str(proxy) for proxy in found] == ["file:1", "env:2", "option:3", "None"]
    assert "pass-word" not in repr(load_account({}, config=config))
    with pytest.raises(SettingsError, match="--proxy takes no name and password"):
        load_account(environ, config=config, proxy="http://me:pass-word@option:3")
    with pytest.raises(SettingsError, match="setting proxy must be a text"):
        load_account({}, config=write('[profiles.a]\napi_key = "k"\napi_secret = "s"\nproxy = 1\n'))


def test_the_password_of_a_proxy_is_redacted(write: Write) -> None:
    """In every form: a proxy may send it back."""
    config = write(
        '[profiles.a]\napi_key = "k"\napi_secret = "s"\n'
        'proxy = "http://robot:planted%2Fword@file:1"\n'
    )
    load_account({}, config=config)
    for text in (
        "planted/word",
        "planted%2Fword",
        "robot:planted/word",
        "cm9ib3Q6cGxhbnRlZC93b3Jk",
    ):
        assert redaction.redacted(f"say {text} now") == f"say {redaction.MARK} now"
