"""What a profile may hold: every key with its kind, default and meaning.

`profiles` refuses other keys, and the manual is made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProfileKey:
    """One key of ``[profiles.NAME]``.

    :ivar kind: of its value: ``text``, ``list of texts``, ``text or list of words``.
    :ivar default: what holds without it, in words.
    :ivar meaning: one or two sentences.
    """

    name: str
    kind: str
    default: str
    meaning: str


PROFILE_KEYS = (
    ProfileKey(
        "api_url",
        "text",
        "`https://api.ooyala.com`",
        "The API's address, `http://` or `https://`. `BACKLOT_API_URL` and `--api-url` stand above "
        "it.",
    ),
    ProfileKey(
        "cdn_url",
        "text",
        "none; `https://cdn-api.ooyala.com` for the API's own default",
        "A host for GETs whose answer may be five minutes old; it costs no API credits. "
        "`BACKLOT_CDN_URL` and `--cdn-url` stand above it.",
    ),
    ProfileKey(
        "api_key",
        "text",
        "the credential `api_key` of systemd",
        "The account's key. `BACKLOT_API_KEY` stands above it.",
    ),
    ProfileKey(
        "api_secret",
        "text",
        "see the next three",
        "The account's secret. `BACKLOT_API_SECRET` stands above it.",
    ),
    ProfileKey(
        "api_secret_file",
        "text",
        "none",
        "A file that holds the secret and nothing else, readable by you alone.",
    ),
    ProfileKey(
        "api_secret_command",
        "text or list of words",
        "the credential `api_secret` of systemd",
        "A command that prints the secret within 30 s, such as `pass show backlot`. It is run "
        "without a shell.",
    ),
    ProfileKey(
        "api_secret_keyring",
        "text",
        "none",
        "A service's name in the desktop's key store, where the secret lies for the account's key. "
        "`backlotfs config init --keyring` puts it there. Needs the extra `keyring`.",
    ),
    ProfileKey(
        "options",
        "text",
        "none",
        "Mount options as `-o` takes them: `allow_other,uid=1000,log_format=json`. What the "
        "command line says, by `-o` or by an option of its own, stands above them.",
    ),
    ProfileKey(
        "ca_bundle",
        "text",
        "the system's authorities",
        "A PEM file with the authorities to trust instead. `--ca-bundle` stands above it.",
    ),
    ProfileKey(
        "allow_source_hosts",
        "list of texts",
        "`[]`",
        "Hosts, `*.domains` and networks (`10.1.0.0/16`) that sources may be on and be redirected "
        "to, although their addresses are private or the host is another. `--allow-source-host` "
        "adds to them.",
    ),
    ProfileKey(
        "api_timeout",
        "text",
        "`25s`",
        "How long the API may be silent before and within an answer: `60s`, `2m`. "
        "`--api-timeout` stands above it.",
    ),
)
