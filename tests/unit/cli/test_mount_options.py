# SPDX-License-Identifier: Apache-2.0
"""``-o``, as mount(8) and fstab spell it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backlotfs.cli.mount_options import apply_mount_options
from backlotfs.config.proxy import Proxy
from backlotfs.config.settings import Account, MountSettings
from backlotfs.errors import SettingsError

BASE = MountSettings(Account("http://api", "k", "s"), Path("/mnt"), Path("/cache"))


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ((), BASE),
        (("",), BASE),
        (("ro,nosuid,nodev,noexec,noatime,relatime", ""), BASE),
        (("allow_other",), replace(BASE, allow_other=True)),
        (("uid=5,gid=6",), replace(BASE, uid=5, gid=6)),
        (("uid=5", "uid=7"), replace(BASE, uid=7)),
        (("fsname=backlot:x",), replace(BASE, fsname="backlot:x")),
        (("sidecars,captions",), replace(BASE, sidecars=True, captions=True)),
        (("umask=077, ro",), replace(BASE, umask=0o77)),
        (("log_format=json,log_level=DEBUG",), replace(BASE, log_format="json", log_level="debug")),
        (("shared_thumbnails",), replace(BASE, shared_thumbnails="hidden")),
        (("shared_thumbnails=listed",), replace(BASE, shared_thumbnails="listed")),
        (("keep_urls",), replace(BASE, keep_urls=True)),
        (("keep_urls=yes",), replace(BASE, keep_urls=True)),
        (("keep_urls=no,forget_urls",), replace(BASE, keep_urls=False, forget_urls=True)),
        (("subtype=sshfs",), replace(BASE, subtype="sshfs")),
        (("log_file=/a/b",), replace(BASE, log_place="/a/b")),
        (
            ("proxy=http://proxy:1",),
            replace(BASE, account=replace(BASE.account, proxy=Proxy("proxy", 1))),
        ),
    ],
)
def test_options(options: tuple[str, ...], settings: MountSettings) -> None:
    """Several, in several lists; the last counts."""
    assert apply_mount_options(BASE, options) == settings


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("rw", "mounted read-only"),
        ("exec", "mounted read-only"),
        ("api_secret=s3cret", "every user could read it"),
        ("password=s3cret", "every user could read it"),
        ("proxy=http://me:s3cret@proxy:1", "every user could read them"),
        ("proxy=socks5://proxy:1", "only HTTP proxies"),
        ("proxy", "has no host"),
        ("color=blue", "unknown mount option 'color'"),
        ("color=blue", "known: allow_other, .*unsized; for the others: backlotfs mount --help"),
        ("UID=5", "unknown"),
        ("sidecar", "did you mean sidecars\\?"),
        ("log-format=json", "did you mean log_format\\?"),
        ("log_format=xml", "must be one of text, json, not 'xml'"),
        ("include=", "option include: the rule '' is empty; write it like"),
        ("exclude=lable:a", "option exclude: the rule 'lable:a' begins with none of name:"),
        ("log_level=loud", "must be one of error, warning, info, debug, not 'loud'"),
        ("log_file=", "needs a file: log_file=FILE"),
        ("metrics=9184", "option metrics: '9184' is not an address to listen on; write it like"),
        ("shared_thumbnails=yes", "must be one of hidden, listed, not 'yes'"),
        ("keep_urls=maybe", "must be one of yes, no, not 'maybe'"),
        ("subtype=nfs", "must be one of backlotfs, sshfs, not 'nfs'"),
        ("subtype", "must be one of backlotfs, sshfs, not ''"),
        ("uid=", "needs a number"),
        ("uid=me", "needs a number, not 'me'"),
        ("uid=-1", "needs a number"),
        ("uid=4294967295", "out of range; give 0 to 4294967294"),
        ("umask=9", "out of range"),
        ("umask=7777", "out of range; give 0 to 777"),
        ("umask=-1", "needs a number"),
        ("umask=²", "out of range|needs a number"),
    ],
)
def test_refused(option: str, says: str) -> None:
    """Each says why; a secret is not repeated."""
    with pytest.raises(SettingsError, match=says) as caught:
        apply_mount_options(BASE, [option])
    assert "s3cret" not in str(caught.value)
