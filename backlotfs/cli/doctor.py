# SPDX-License-Identifier: Apache-2.0
"""``backlotfs doctor``: the prerequisites of a mount, and the commands that fix what is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import click

from backlotfs import doctor as checks
from backlotfs.cli.account_options import ChosenAccount, account_options
from backlotfs.cli.mount_options import apply_mount_options, split_options
from backlotfs.cli.mountpoints import MOUNTPOINT
from backlotfs.concurrency.clock import SystemClock
from backlotfs.config.settings import FUSE_BINDINGS, Account, MountSettings, default_cache_dir
from backlotfs.doctor import (
    Finding,
    Verdict,
    check_cache_folder,
    check_library,
    check_saved_urls,
    failed_by,
    fine,
)
from backlotfs.errors import SettingsError
from backlotfs.log.terminal import escaped, say, say_json, write

_COLOURS = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.FAILED: "red"}

_NO_ACCOUNT = "backlotfs config init"


@click.command()
@click.argument("mountpoint", type=MOUNTPOINT, required=False)
@account_options
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path),
    help="Cache folder to check, as for `mount` [your cache folder].",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(
    mountpoint: Path | None,
    chosen: ChosenAccount,
    cache_dir: Path | None,
    as_json: bool,
) -> int:
    """Check the prerequisites of a mount and suggest fixes.

    MOUNTPOINT, if given, is checked too.

    Exits as `mount` would: 0 when it would work, else with the code of what would stop it first.
    Costs two to four calls of the API.
    """
    account: Account | None = None
    try:
        account = chosen.load()
        settings = fine(
            "credentials", f"from {chosen.place}; the secret is from {account.secret_place}"
        )
    except SettingsError as error:
        settings = failed_by("credentials", error, None if "; " in str(error) else _NO_ACCOUNT)
    findings = []
    if not as_json:
        say("A note is optional: a mount works without it.")
    cache = cache_dir or default_cache_dir(os.environ)
    for finding in chain(
        _of_machine(account, mountpoint, cache), _of_account(account, settings, cache)
    ):
        findings.append(finding)
        if not as_json:
            _say(finding)
    code = next((finding.exit_code for finding in findings if finding.exit_code), 0)
    if as_json:
        report = {"exit_code": code, "findings": [asdict(finding) for finding in findings]}
        say_json(report)
        return code
    if code:
        first = next(finding for finding in findings if finding.exit_code)
        say(f"You cannot mount yet: {first.check} failed. Follow its arrow, then run this again.")
    else:
        say(f"You can mount: {chosen.mount_command(mountpoint)}")
    return code


def _of_machine(
    account: Account | None, mountpoint: Path | None, cache_dir: Path
) -> Iterator[Finding]:
    is_root = os.geteuid() == 0
    options = split_options(account.mount_options) if account is not None else []
    allow_other = any(name == "allow_other" for name, _ in options)
    yield checks.check_python()
    binding = dict(options).get("fuse_binding") or FUSE_BINDINGS[0]
    libfuse = checks.check_libfuse(binding)
    if libfuse is not None:
        yield libfuse
    yield checks.check_device()
    yield checks.check_fusermount(is_root=is_root)
    yield checks.check_allow_other(is_root=is_root, wanted=allow_other)
    yield checks.check_read_ahead(is_root=is_root)
    yield checks.check_passthrough(cache_dir)
    yield checks.check_open_files()
    yield checks.check_mount_helper()
    yield checks.check_updatedb()
    if mountpoint is not None:
        yield checks.check_place(mountpoint)


def _of_account(account: Account | None, settings: Finding, cache_dir: Path) -> Iterator[Finding]:
    yield check_cache_folder(cache_dir.absolute())
    yield settings
    if account is None:
        return
    mount = MountSettings(account, Path("/"), cache_dir.absolute())
    try:
        mount = apply_mount_options(mount, [account.mount_options])
        yield check_saved_urls(mount)
    except SettingsError as error:
        yield failed_by("options", error)
    proxy = checks.check_proxy(mount.account, os.environ)
    yield proxy
    if not proxy.exit_code:
        yield from check_library(mount.account, SystemClock())


def _say(finding: Finding) -> None:
    word = f"{finding.verdict.value:7}"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        word = click.style(word, fg=_COLOURS[finding.verdict])
    write(f"{word} {escaped(f'{finding.check:13} {finding.detail}')}")
    if finding.remedy:
        say(f"{'':21} → {finding.remedy}")
