# SPDX-License-Identifier: Apache-2.0
"""``backlotfs mount``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from backlotfs.cli import MountEnded
from backlotfs.cli.account_options import ChosenAccount, account_options, api_share_option
from backlotfs.cli.mount_options import SETTING_OF, api_share_of, apply_mount_options
from backlotfs.cli.mountpoints import MOUNTPOINT
from backlotfs.cli.param_types import Duration, Layouts, Listen, Octal, Part, Rate, Rule, Size
from backlotfs.cli.progress import LISTING, SIZES, ListingProgress, sizes_line, wait_for
from backlotfs.config.settings import (
    FUSE_BINDINGS,
    GIB,
    MIB,
    PIN_QUOTA,
    SHARED_THUMBNAILS,
    SUBTYPES,
    UNSIZED,
    MountSettings,
    NameMode,
    default_cache_dir,
)
from backlotfs.config.time_limits import CREDIT_WAIT_S, LEAST_READ_TIMEOUT_S, MOST_TIMEOUT_S
from backlotfs.errors import BacklotError, CommandFailed, SettingsError
from backlotfs.kernel.mount_table import OUR_SOURCE
from backlotfs.kernel.mounting import check_usable
from backlotfs.kernel.mountpoint import check_mountpoint, clear_dead, resolved
from backlotfs.log import output
from backlotfs.log.terminal import say
from backlotfs.mount.background import NobodyWaits, Outcome, Ready, run_in_background
from backlotfs.thumbnails.picture import check_installed


class _MountCommand(click.Command):
    """A command whose ``--wait`` takes its optional value only after ``=``, as GNU programs do.

    click would take the next word as the value, but that word is MOUNTPOINT.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments after giving ``--wait`` its default value."""
        whole = [f"--wait={LISTING}" if word == "--wait" else word for word in args]
        return super().parse_args(ctx, whole)


def _set(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> frozenset[str]:
    return frozenset(values)


@click.command(cls=_MountCommand)
@click.argument("mountpoint", type=MOUNTPOINT)
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground; log to stderr.")
@click.option(
    "--wait",
    type=click.Choice([LISTING, SIZES]),
    metavar=f"[={LISTING}|{SIZES}]",
    help="Return when the listing is up to date (--wait) or all sizes are known (--wait=sizes).",
)
@account_options
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for catalog, blocks and URLs [your cache folder].",
)
@click.option(
    "--cache-size",
    type=Size(),
    help="Size of the disk cache; 0: none [10G, or a tenth of the free disk].",
)
@click.option(
    "--pin-quota",
    type=Part(),
    default=PIN_QUOTA,
    help="Part of --cache-size for pinned files: a size or a percentage [80%].",
)
@click.option(
    "--keep-urls/--no-keep-urls",
    default=None,
    help="Save signed URLs for the next mount, readable by you alone "
    "[if the secret is in a file too].",
)
@click.option("--forget-urls", is_flag=True, help="Delete the URLs that earlier mounts saved.")
@click.option(
    "--layout",
    type=Layouts(),
    default="flat",
    help="flat, labels, dates or by-id; several become top-level folders [flat].",
)
@click.option(
    "--names",
    type=click.Choice([mode.value for mode in NameMode]),
    default="original",
    help="original, always-id (equal on all hosts) or portable (valid on Windows) [original].",
)
@click.option(
    "--stat-timeout",
    type=Duration(most_s=MOST_TIMEOUT_S),
    help="Limit for a stat, including waits for API credits [5s of silence].",
)
@click.option(
    "--read-timeout",
    type=Duration(LEAST_READ_TIMEOUT_S, MOST_TIMEOUT_S),
    help="Limit for an open or a read, including waits for API credits [30s of silence].",
)
@click.option(
    "--credit-wait",
    type=Duration(),
    default=CREDIT_WAIT_S,
    help="Longest wait of an operation for an API credit [1h].",
)
@api_share_option
@click.option(
    "--unsized",
    type=click.Choice(UNSIZED),
    default=UNSIZED[0],
    help="What a program gets for a file of unknown size [wait].",
)
@click.option(
    "--fuse-binding",
    type=click.Choice(FUSE_BINDINGS),
    default=FUSE_BINDINGS[0],
    help="How the mount speaks to the kernel: itself (session) or by fusepy [auto].",
)
@click.option(
    "--passthrough/--no-passthrough",
    default=True,
    help="Let the kernel read files that are wholly in the disk cache itself, as root [yes].",
)
@click.option(
    "--no-wait",
    multiple=True,
    metavar="PROGRAM",
    help="Never let this program wait for sizes, like a file manager.",
)
@click.option(
    "--bwlimit",
    type=Rate(),
    default=0.0,
    help="Bandwidth limit for all transfers together: 10M, 80Mbit …",
)
@click.option("--memory", type=Size(), default=256 * MIB, help="Memory for blocks [256M].")
@click.option(
    "--metadata-ttl",
    type=Duration(),
    default=300.0,
    help="Age at which the listing is refreshed [5m].",
)
@click.option(
    "--max-assets",
    type=click.IntRange(min=1),
    default=5_000_000,
    help="Largest number of assets in a listing [5000000].",
)
@click.option(
    "--max-listing-bytes",
    type=Size(),
    default=20 * GIB,
    help="Largest total size of the answers of a listing [20G].",
)
@click.option(
    "--include",
    type=Rule(),
    multiple=True,
    help="Show only assets that match this or another RULE: '*.mov', label:News, date:2024 …",
)
@click.option(
    "--exclude",
    type=Rule(),
    multiple=True,
    help="Do not show assets that match this RULE …",
)
@click.option(
    "--include-type",
    multiple=True,
    callback=_set,
    metavar="TYPE",
    help="Show only this asset type …",
)
@click.option(
    "--include-status",
    multiple=True,
    callback=_set,
    metavar="STATUS",
    help="Show only this status …",
)
@click.option("--include-unavailable", is_flag=True, help="Show assets without a source too.")
@click.option("--sidecars", is_flag=True, help="Add NAME.json with the metadata beside each file.")
@click.option(
    "--shared-thumbnails",
    type=click.Choice(SHARED_THUMBNAILS),
    help="Add .sh_thumbnails with preview images to each folder, hidden or listed [none].",
)
@click.option(
    "--captions",
    is_flag=True,
    help="Add captions beside each file; one API call for each asset and each change of it.",
)
@click.option(
    "--uid", type=click.IntRange(0, 2**32 - 2), default=os.getuid, help="Owner of the files [you]."
)
@click.option(
    "--gid",
    type=click.IntRange(0, 2**32 - 2),
    default=os.getgid,
    help="Group of the files [yours].",
)
@click.option("--umask", type=Octal(), default=0o022, help="Permission bits to remove [022].")
@click.option("--allow-other", is_flag=True, help="Allow access by other users.")
@click.option(
    "--subtype",
    type=click.Choice(SUBTYPES),
    default=SUBTYPES[0],
    help="sshfs: for programs that know remote file systems only by type [backlotfs].",
)
@click.option(
    "-o", "options", multiple=True, metavar="OPT[,OPT…]", help="Options in the form of mount(8)."
)
@click.option(
    "--log-level",
    type=click.Choice(output.LEVELS, case_sensitive=False),
    default="info",
    help="Minimum log level [info].",
)
@click.option(
    "--log-format",
    type=click.Choice(output.FORMATS),
    default="text",
    help="text, or json with one object per line [text].",
)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Log file [journal, syslog or a file in your state folder].",
)
@click.option(
    "--metrics",
    type=Listen(),
    help="Answer scrapes of Prometheus at this address, like 127.0.0.1:9184 [none].",
)
@click.option(
    "--traces", is_flag=True, help="Send spans of reads by OpenTelemetry, as OTEL_… variables say."
)
def mount(
    mountpoint: Path,
    foreground: bool,
    wait: str | None,
    chosen: ChosenAccount,
    cache_dir: Path | None,
    options: tuple[str, ...],
    log_file: Path | None,
    api_share: str | None,
    **values: Any,
) -> None:
    """Mount the library on MOUNTPOINT, read-only.

    The command returns when the mount answers; the mount runs in the background. With -f it stays
    in the foreground.
    """
    if foreground and wait is not None:
        raise SettingsError("--wait needs a mount in the background; leave out -f")
    place = resolved(mountpoint)
    check_usable()
    cleared_dead = clear_dead(place)
    if cleared_dead and not foreground:  # in the foreground the log says so
        say(f"backlotfs: cleared the dead mount on {place}", err=True)
    check_mountpoint(place)
    account = chosen.load()
    if log_file is not None:
        log_place = str(log_file.absolute())
    elif foreground:
        log_place = "stderr"
    else:
        log_place = output.default_place(account.source.removeprefix("backlot:"), place)
    settings = MountSettings(
        account=account,
        mountpoint=place,
        cache_dir=(cache_dir or default_cache_dir(os.environ)).absolute(),
        log_place=log_place,
        api_share=api_share_of(account, api_share),
        **{SETTING_OF.get(name, name): value for name, value in values.items()},
    )
    settings = apply_mount_options(settings, [account.mount_options], settled=_given())
    settings = apply_mount_options(settings, options)
    _check_subtype(settings)
    if settings.shared_thumbnails is not None:
        check_installed("--shared-thumbnails")
    # late: the help, the completion and usage errors do not need these modules
    from backlotfs.mount.serve import outcome_of, serve_mount

    def serve(ready: Ready) -> None:
        serve_mount(settings, ready, cleared_dead=cleared_dead)

    if foreground:
        _stay(settings, serve)
        return

    def work(ready: Ready) -> Outcome:
        code, line = outcome_of(lambda: serve(ready))
        return {"code": code, "line": line}

    where = settings.log_place
    where = "the journal (or syslog)" if where == "syslog" else where
    said = f"mounted {settings.source} on {place}; its log is in {where}"
    if wait is None:
        outcome = run_in_background(work, said)
    else:
        with ListingProgress() as listing:
            outcome = run_in_background(work, said, listing.show)
    if outcome["code"]:
        raise CommandFailed(outcome["line"], outcome["code"])
    if wait is None:
        say(outcome["line"])
        return
    try:
        say(outcome["line"])
        answer = wait_for(place, wait)
    except KeyboardInterrupt:
        say(f"backlotfs: stopped waiting; {place} stays mounted", err=True)
        raise
    if answer["stale"]:
        say(f"backlotfs: the listing is not up to date: {answer['last_error']}", err=True)
    say(sizes_line(answer))


def _given() -> set[str]:
    """Names of the options on the command line, which override those of the profile."""
    context = click.get_current_context()
    return {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def _check_subtype(settings: MountSettings) -> None:
    """:raises SettingsError: no command could tell this mount from a mount of the other program."""
    if settings.subtype != SUBTYPES[0] and not settings.source.startswith(OUR_SOURCE):
        raise SettingsError(
            f"with subtype={settings.subtype} the source must begin with {OUR_SOURCE}, or no "
            f"command would find the mount; change fsname={settings.source}"
        )


def _stay(settings: MountSettings, serve: Callable[[Ready], None]) -> None:
    """Serve in the foreground. It always ends with an exception.

    :raises MountEnded: the mount has ended.
    :raises SystemExit: the mount failed, and the log on stderr says why.
    :raises BacklotError: the mount failed, and the caller has to say why.
    """
    try:
        serve(NobodyWaits())
    except BacklotError as error:
        if settings.log_place != "stderr" or output.people_read_stderr(settings.log_format):
            raise
        raise SystemExit(error.exit_code) from None
    raise MountEnded(0)
