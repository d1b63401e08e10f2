"""``backlotfs mount`` and ``backlotfs umount``."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.core import ParameterSource

from backlotfs.api.rate_limiter import CREDIT_WAIT_S
from backlotfs.cli.account_options import ChosenAccount, account_options
from backlotfs.cli.mount_options import apply_mount_options
from backlotfs.cli.mountpoints import MOUNTED, MOUNTPOINT
from backlotfs.cli.param_types import Duration, Layouts, Octal, Part, Rate, Size
from backlotfs.cli.progress import LISTING, SIZES, ListingProgress, sizes_line, wait_for
from backlotfs.config.settings import (
    GIB,
    MIB,
    PIN_QUOTA,
    SHARED_THUMBNAILS,
    SUBTYPES,
    UNSIZED,
    MountSettings,
    Quota,
    default_cache_dir,
)
from backlotfs.errors import BacklotError, SettingsError
from backlotfs.kernel.fuse_library import check_usable
from backlotfs.kernel.mount_table import OUR_SOURCE
from backlotfs.kernel.mountpoint import check_mountpoint, clear_dead, resolved, unmount
from backlotfs.log import output
from backlotfs.log.terminal import say
from backlotfs.mount.background import NobodyWaits, Outcome, Ready, run_in_background
from backlotfs.mount.serve import outcome_of, serve_mount
from backlotfs.namespace.naming import NameMode
from backlotfs.thumbnails.picture import check_installed


class MountFailed(BacklotError):
    """A background mount failed; carries the child's exit code."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome["line"])
        self.exit_code = outcome["code"]  # type: ignore[misc]  # per instance: it is the child's


class _MountCommand(click.Command):
    """``--wait`` takes a value after ``=`` only, as GNU programs do: what follows is MOUNTPOINT.

    An optional value of click's own would be taken from the next word.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, with the default value in place."""
        whole = [f"--wait={LISTING}" if word == "--wait" else word for word in args]
        return super().parse_args(ctx, whole)


@click.command(cls=_MountCommand)
@click.argument("mountpoint", type=MOUNTPOINT)
@click.option("-f", "--foreground", is_flag=True, help="Stay; log to stderr.")
@click.option(
    "--wait",
    type=click.Choice([LISTING, SIZES]),
    metavar=f"[={LISTING}|{SIZES}]",
    help="Return when the listing is up to date (--wait), or all sizes are known (--wait=sizes).",
)
@account_options
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where catalog, blocks and URLs are kept over restarts [your cache folder].",
)
@click.option(
    "--cache-size",
    type=Size(),
    help="Budget for blocks on disk; 0: none [10G, or a tenth of the free disk].",
)
@click.option(
    "--pin-quota",
    type=Part(),
    default=PIN_QUOTA,
    help="What pinned files may take of that: a size, or a share [80%].",
)
@click.option(
    "--keep-urls/--no-keep-urls",
    default=None,
    help="Keep signed URLs over restarts, readable by you alone "
    "[if the secret lies in a file as well].",
)
@click.option("--forget-urls", is_flag=True, help="Delete the URLs that earlier mounts kept.")
@click.option(
    "--layout",
    type=Layouts(),
    default="flat",
    help="flat, labels, dates, by-id; several are top-level folders [flat].",
)
@click.option(
    "--names",
    type=click.Choice([mode.value for mode in NameMode]),
    default="original",
    help="always-id: the same on every host; portable: fit for Windows [original].",
)
@click.option(
    "--stat-timeout",
    type=Duration(),
    help="Limit for a stat, waits for API credits included [5s of silence].",
)
@click.option(
    "--read-timeout",
    type=Duration(least_s=1.0),
    help="Limit for an open or a read, waits for API credits included [30s of silence].",
)
@click.option(
    "--credit-wait",
    type=Duration(),
    default=CREDIT_WAIT_S,
    help="Longest wait of an operation for an API credit [1h].",
)
@click.option(
    "--unsized",
    type=click.Choice(UNSIZED),
    default=UNSIZED[0],
    help="What programs get for a file whose size is not known yet [wait].",
)
@click.option(
    "--no-wait",
    multiple=True,
    metavar="PROGRAM",
    help="Treat this program like a file manager: it never waits for sizes.",
)
@click.option("--bwlimit", type=Rate(), default=0.0, help="All transfers together: 10M, 80Mbit …")
@click.option("--memory", type=Size(), default=256 * MIB, help="Budget for blocks [256M].")
@click.option(
    "--metadata-ttl", type=Duration(), default=300.0, help="How old a listing may get [5m]."
)
@click.option(
    "--max-assets",
    type=click.IntRange(min=1),
    default=5_000_000,
    help="Give up a listing that has more assets [5000000].",
)
@click.option(
    "--max-listing-bytes",
    type=Size(),
    default=20 * GIB,
    help="Give up a listing whose answers are larger together [20G].",
)
@click.option("--include-type", multiple=True, metavar="TYPE", help="Only this asset type …")
@click.option("--include-status", multiple=True, metavar="STATUS", help="Only this status …")
@click.option("--include-unavailable", is_flag=True, help="List assets without a source too.")
@click.option(
    "--sidecars", is_flag=True, help="Beside each file, what the library says: NAME.json."
)
@click.option(
    "--shared-thumbnails",
    type=click.Choice(SHARED_THUMBNAILS),
    help="A .sh_thumbnails in each folder, from preview images; in listings or not [none].",
)
@click.option(
    "--captions",
    is_flag=True,
    help="Beside each file, its captions, once found: an API call per asset and touch.",
)
@click.option("--uid", type=click.IntRange(0, 2**32 - 2), help="Owner of the files [you].")
@click.option("--gid", type=click.IntRange(0, 2**32 - 2), help="Group of the files [yours].")
@click.option("--umask", type=Octal(), default=0o022, help="Permissions taken away [022].")
@click.option("--allow-other", is_flag=True, help="Let other users in.")
@click.option(
    "--subtype",
    type=click.Choice(SUBTYPES),
    default=SUBTYPES[0],
    help="sshfs: for programs that take only known types for remote [backlotfs].",
)
@click.option("-o", "options", multiple=True, metavar="OPT[,OPT…]", help="As mount(8) gives them.")
@click.option(
    "--log-level",
    type=click.Choice(output.LEVELS, case_sensitive=False),
    default="info",
    help="The least that is worth a line [info].",
)
@click.option(
    "--log-format",
    type=click.Choice(output.FORMATS),
    default="text",
    help="json: one object a line [text].",
)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Log to this file [journal, syslog or a file of yours].",
)
def mount(  # one parameter per option
    mountpoint: Path,
    foreground: bool,
    wait: str | None,
    chosen: ChosenAccount,
    cache_dir: Path | None,
    cache_size: int | None,
    pin_quota: Quota,
    keep_urls: bool | None,
    forget_urls: bool,
    layout: tuple[str, ...],
    names: str,
    stat_timeout: float | None,
    read_timeout: float | None,
    credit_wait: float,
    unsized: str,
    no_wait: tuple[str, ...],
    bwlimit: float,
    memory: int,
    metadata_ttl: float,
    max_assets: int,
    max_listing_bytes: int,
    include_type: tuple[str, ...],
    include_status: tuple[str, ...],
    include_unavailable: bool,
    sidecars: bool,
    shared_thumbnails: str | None,
    captions: bool,
    uid: int | None,
    gid: int | None,
    umask: int,
    allow_other: bool,
    subtype: str,
    options: tuple[str, ...],
    log_level: str,
    log_format: str,
    log_file: Path | None,
) -> None:
    """Mount the library on MOUNTPOINT, read-only.

    Returns once the mount answers and goes on in the background; -f stays.
    """
    if foreground and wait is not None:
        raise SettingsError("--wait is for a mount in the background; leave out -f")
    place = resolved(mountpoint)
    check_usable()
    cleared_dead = clear_dead(place)
    if cleared_dead and not foreground:  # there the log says so, on the same stderr
        say(f"backlotfs: cleared the dead mount on {place}", err=True)
    check_mountpoint(place)
    account = chosen.load()
    if log_file is not None:
        log_place = str(log_file.absolute())
    elif foreground:
        log_place = "stderr"
    else:
        log_place = output.default_place(chosen.profile or place.name)
    settings = MountSettings(
        account=account,
        mountpoint=place,
        cache_dir=(cache_dir or default_cache_dir(os.environ)).absolute(),
        keep_urls=keep_urls,
        forget_urls=forget_urls,
        layouts=layout,
        names=names,
        stat_timeout_s=stat_timeout,
        read_timeout_s=read_timeout,
        credit_wait_s=credit_wait,
        unsized=unsized,
        no_wait=no_wait,
        memory_bytes=memory,
        cache_bytes=cache_size,
        pin_quota=pin_quota,
        bandwidth_bytes_s=bwlimit,
        metadata_ttl_s=metadata_ttl,
        max_assets=max_assets,
        max_listing_bytes=max_listing_bytes,
        types=frozenset(include_type),
        statuses=frozenset(include_status),
        include_unavailable=include_unavailable,
        sidecars=sidecars,
        shared_thumbnails=shared_thumbnails,
        captions=captions,
        uid=os.getuid() if uid is None else uid,
        gid=os.getgid() if gid is None else gid,
        umask=umask,
        allow_other=allow_other,
        subtype=subtype,
        log_level=log_level,
        log_format=log_format,
        log_place=log_place,
    )
    settings = apply_mount_options(settings, [account.mount_options], settled=_given())
    settings = apply_mount_options(settings, options)
    _check_subtype(settings)
    if settings.shared_thumbnails is not None:
        check_installed("--shared-thumbnails")
    if foreground:
        _stay(settings, cleared_dead=cleared_dead)
        return

    def work(ready: Ready) -> Outcome:
        code, line = outcome_of(lambda: serve_mount(settings, ready, cleared_dead=cleared_dead))
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
        raise MountFailed(outcome)
    say(outcome["line"])
    if wait is not None:
        answer = wait_for(place, wait)
        if answer["stale"]:
            say(f"backlotfs: the listing is not up to date: {answer['last_error']}", err=True)
        say(sizes_line(answer))


def _given() -> set[str]:
    """The options of the command line: they stand above those of the profile."""
    context = click.get_current_context()
    return {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def _check_subtype(settings: MountSettings) -> None:
    """:raises SettingsError: nobody could tell such a mount from one of the program it names."""
    if settings.subtype != SUBTYPES[0] and not settings.source.startswith(OUR_SOURCE):
        raise SettingsError(
            f"with subtype={settings.subtype} the source has to begin with {OUR_SOURCE}, "
            f"or no command would find the mount: not fsname={settings.source}"
        )


def _stay(settings: MountSettings, *, cleared_dead: bool) -> None:
    """:raises SystemExit: it failed, and a program reads stderr: the log's line there says why."""
    try:
        serve_mount(settings, NobodyWaits(), cleared_dead=cleared_dead)
    except BacklotError as error:
        if settings.log_place != "stderr" or output.people_read_stderr(settings.log_format):
            raise
        raise SystemExit(error.exit_code) from None


@click.command()
@click.argument("mountpoint", type=MOUNTED)
def umount(mountpoint: Path) -> None:
    """Unmount MOUNTPOINT; clears a dead mount too."""
    unmount(resolved(mountpoint))
