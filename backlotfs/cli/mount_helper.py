# SPDX-License-Identifier: Apache-2.0
"""``mount.backlotfs``: the program that mount(8) runs for ``-t backlotfs`` and lines of fstab.

::

    mount.backlotfs backlot:PROFILE MOUNTPOINT [-sfnv] [-o OPT[,OPT…]]

It translates these arguments to those of ``backlotfs mount`` and runs it. `mount.fuse.backlotfs`,
for ``-t fuse.backlotfs``, is the same. Exit codes are mount(8)'s: 1 usage or settings, 32 failure.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from pathlib import Path

import click

from backlotfs.cli.mount import mount
from backlotfs.cli.mount_options import SETTABLE, refuse_secret, split_options, unknown_option
from backlotfs.config.profiles import SYSTEM_CONFIG
from backlotfs.errors import BacklotError, SettingsError
from backlotfs.log import excepthooks
from backlotfs.log.terminal import prepare_streams, say

_WRONG_USE, _NO_MOUNT = 1, 32
#: Options for mount(8), systemd or the kernel, which are ignored here. ``defaults`` means
#: ``rw,suid,dev,exec,…``; the mount is read-only, nosuid, nodev and noexec all the same.
NOT_FOR_US = frozenset(
    {
        *("defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec"),
        *("auto", "noauto", "user", "nouser", "users", "owner", "group", "comment"),
        *("_netdev", "nofail", "async", "sync", "dirsync", "silent", "loud", "mand", "nomand"),
        *("atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime"),
        *("nostrictatime", "lazytime", "nolazytime", "iversion", "noiversion"),
        *("symfollow", "nosymfollow"),
    }
)
#: Parameters that have no meaning under mount(8); ``wait`` would delay a boot for hours.
NOT_OPTIONS = frozenset({"mountpoint", "foreground", "options", "wait"})


def words_for(source: str, mountpoint: str, options: str, *, sloppy: bool) -> list[str]:
    """Translate to the arguments of ``backlotfs mount``.

    The source becomes ``fsname``, because ``mount -a`` compares the sources in mountinfo with
    fstab. If they differed, ``mount -a`` would mount the library again.

    :param source: ``backlot:PROFILE``, or the profile; ``backlot:`` means the only profile.
    :param options: the value of ``-o``: long options of ``backlotfs mount``, with ``_`` or ``-``.
    :param sloppy: ignore unknown options.
    :raises SettingsError: an option is unknown, incomplete or a secret, or the source is malformed.
    """
    if not source or set(source) & set(',"\\'):
        raise SettingsError(f"{source!r} is not a source; write it as backlot:PROFILE")
    words, passed, given = [], [f"fsname={source}"], set()
    parameters = {parameter.name: parameter for parameter in mount.params}
    for name, value in split_options(options):
        if name in NOT_FOR_US or name.lower().startswith("x-"):
            continue
        refuse_secret(name, value)
        if name == "remount":
            raise SettingsError("remount is not possible: unmount and mount again")
        if name == "wait" and not sloppy:
            raise SettingsError(
                "wait is not possible in fstab or with mount -o: a boot would wait for hours; "
                "watch the progress with: backlotfs status --watch"
            )
        known = name.replace("-", "_")
        parameter = parameters.get(known)
        if known in SETTABLE and known != "fsname":
            value = f'"{value}"' if "," in value else value
            # an option of ``-o`` overrides that of the profile
            passed.append(f"{known}={value}" if value else known)
        elif isinstance(parameter, click.Option) and known not in NOT_OPTIONS:
            given.add(known)
            words += _option(parameter, name, value)
        elif not sloppy:
            raise unknown_option(name, known_options())
    profile = source.removeprefix("backlot:")
    if profile and "profile" not in given:
        words.append(f"--profile={profile}")
    if "config" not in given and os.geteuid() == 0 and SYSTEM_CONFIG.exists():
        # Use the same file at boot, under sudo and in a shell of root.
        words.append(f"--config={SYSTEM_CONFIG}")
    return [*words, "-o", ",".join(passed), "--", mountpoint]


def known_options() -> list[str]:
    """The names of all options that ``-o`` accepts and uses here."""
    named = {parameter.name for parameter in mount.params if isinstance(parameter, click.Option)}
    return sorted((set(SETTABLE) | {name for name in named - NOT_OPTIONS if name}) - {"fsname"})


def _option(parameter: click.Option, name: str, value: str) -> list[str]:
    word = max(parameter.opts, key=len)
    if parameter.is_flag:
        if value:
            raise SettingsError(f"option {name} takes no value")
        return [word]
    if not value:
        raise SettingsError(f"option {name} needs a value: {name}=…")
    return [f"{word}={value}"]


@click.command()
@click.argument("source")
@click.argument("mountpoint")
@click.option("-o", "options", multiple=True, metavar="OPT[,OPT…]", help="Options as in fstab.")
@click.option("-s", "sloppy", is_flag=True, help="Ignore unknown options.")
@click.option("-f", "fake", is_flag=True, help="Check the options and mount nothing.")
@click.option("-v", "verbose", is_flag=True, help="Print the command that is run.")
@click.option("-n", "_no_mtab", is_flag=True, help="Ignored: there is no mtab to write.")
@click.option("-t", "_fs_type", metavar="TYPE", help="Ignored: there is only one type.")
@click.option("-N", "namespace", metavar="NS", help="Refused; use nsenter.")
def helper(
    source: str,
    mountpoint: str,
    options: tuple[str, ...],
    sloppy: bool,
    fake: bool,
    verbose: bool,
    _no_mtab: bool,
    _fs_type: str | None,
    namespace: str | None,
) -> None:
    """Mount the library of a profile; SOURCE is backlot:PROFILE."""
    if namespace is not None:
        raise SettingsError(f"-N is not known here; use: nsenter --mount={namespace} mount …")
    words = words_for(source, mountpoint, ",".join(options), sloppy=sloppy)
    if verbose:
        say(f"mount.backlotfs: {shlex.join(['backlotfs', 'mount', *words])}")
    if fake:
        mount.make_context("mount", words)
        return
    # mount(8) prints nothing on success.
    with contextlib.nullcontext() if verbose else contextlib.redirect_stdout(io.StringIO()):
        mount.main(words, prog_name="mount.backlotfs", standalone_mode=False)


def main() -> None:
    """The entry point of ``mount.backlotfs`` and ``mount.fuse.backlotfs``."""
    name = Path(sys.argv[0]).name
    prepare_streams()
    try:
        with excepthooks.reported(click.ClickException, click.Abort, BacklotError):
            helper.main(prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        code, line = _WRONG_USE, error.format_message()
    except (click.Abort, KeyboardInterrupt):
        code, line = _NO_MOUNT, "interrupted"
    except BacklotError as error:
        code = _WRONG_USE if error.exit_code == SettingsError.exit_code else _NO_MOUNT
        line = error.advice()
    else:
        return
    say(f"{name}: {line}", err=True)
    sys.exit(code)
