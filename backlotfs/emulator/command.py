# SPDX-License-Identifier: Apache-2.0
"""``backlotfs emulator``: the emulator as a program, until a signal ends it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shlex
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from backlotfs.emulator.assets import synthetic_assets
from backlotfs.emulator.connections import ThrottledLog
from backlotfs.emulator.faults import FaultPlan
from backlotfs.emulator.folder_library import FolderLibrary, parse_size, read_folder
from backlotfs.emulator.library import Library
from backlotfs.emulator.numbers_and_dates import whole_number
from backlotfs.emulator.request_log import RequestEntry, RequestLog
from backlotfs.emulator.server import Emulator
from backlotfs.emulator.settings import EmulatorSettings, random_api_key, random_api_secret
from backlotfs.emulator.watching import following

DEFAULT_PORT = 8880
KEPT_ENTRIES, KEPT_BYTES = 1000, 1024 * 1024  # small: this command never reads the log in memory
_LONGEST_LIFETIME_S = 100 * 366 * 86400.0
_MOST_ASSETS = 10_000_000
_MOST_DESCRIPTORS = 8192
_SHOWN_NAMES = 3
_PATH = click.Path(path_type=Path)
_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)  # all but the last end it


class Unusable(click.ClickException):
    """The emulator cannot serve what the options say: one line, exit code 2."""

    exit_code = 2


def _duration(_context: click.Context, _option: click.Parameter, text: str) -> float:
    matched = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)([smhd]?)", text.strip())
    seconds = float(matched[1]) * _UNITS_S[matched[2]] if matched else 0.0
    if not 1 <= seconds <= _LONGEST_LIFETIME_S:
        raise click.BadParameter(
            f"{text[:40]!r} is not at least 1s, like 72h, 90s or 2s, and 100 years at most"
        )
    return seconds


def _rate(_context: click.Context, _option: click.Parameter, text: str) -> int | None:
    calls = None if text == "off" else whole_number(text)
    if not calls and text != "off":
        raise click.BadParameter(f"{text[:40]!r} is neither a number of calls nor 'off'")
    return calls


def _synthetic(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> list[tuple[int, int]]:
    wanted: list[tuple[int, int]] = []
    for text in texts:
        count, _, size = text.partition("x")
        number = whole_number(count)
        if number is None or number > _MOST_ASSETS:
            raise click.BadParameter(
                f"{text[:40]!r} is not COUNT or COUNTxSIZE, like 1000x5M, of {_MOST_ASSETS} at most"
            )
        try:
            wanted.append((number, parse_size(size or "5M")))
        except ValueError as error:
            raise click.BadParameter(f"{error} (COUNTxSIZE)") from None
    return wanted


@click.command("emulator")
@click.option("--media", metavar="DIR", type=_PATH, help="Serve its files.")
@click.option(
    "--follow-links",
    is_flag=True,
    help="Also serve what links in DIR lead to, outside of it as well.",
)
@click.option(
    "--synthetic",
    metavar="COUNT[xSIZE]",
    multiple=True,
    callback=_synthetic,
    help="Add made-up assets, like 100000x5M or 1x100G …",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="0 takes a free one.",
)
@click.option("--cdn", is_flag=True, help="Listen on a second port as the cached CDN host.")
@click.option(
    "--url-lifetime",
    "url_lifetime_s",
    default="72h",
    show_default=True,
    callback=_duration,
    help="How long a signed URL lives: 72h, 90s, 2s.",
)
@click.option(
    "--dialect", type=click.Choice(["2013", "2017"]), default="2017", show_default=True,
    help="Types in /streams: strings only (2013) or JSON's own (2017).",
)  # fmt: skip  # one option, one place
@click.option(
    "--rate-limit",
    metavar="N|off",
    default="300",
    show_default=True,
    callback=_rate,
    help="API calls a minute.",
)
@click.option(
    "--page-cap",
    type=click.IntRange(1, 100_000),
    default=500,
    show_default=True,
    help="Assets in a page of a listing at most.",
)
@click.option(
    "--list-sources",
    "lists_sources",
    is_flag=True,
    help="Put sources into listings that ask for them (include=streams).",
)
@click.option("--source-base-url", metavar="URL", help="Sign URLs below this one, e.g. an nginx.")
@click.option("--faults", metavar="FILE", type=_PATH, help="A fault plan (JSON).")
@click.option(
    "--request-log",
    metavar="FILE",
    type=_PATH,
    help="Append one JSON object a request; it holds no signatures.",
)
@click.option(
    "--config-out",
    metavar="FILE",
    type=_PATH,
    help="Write the profile 'emulator' there (mode 0600).",
)
@click.option("--ready-fd", type=int, metavar="N", help="Write READY to this descriptor.")
def emulator(
    *,
    media: Path | None,
    follow_links: bool,
    synthetic: list[tuple[int, int]],
    faults: Path | None,
    request_log: Path | None,
    config_out: Path | None,
    ready_fd: int | None,
    **chosen: Any,
) -> None:
    """Serve a folder of media, or a made-up library, as Backlot did.

    Key and secret come from BACKLOT_API_KEY and BACKLOT_API_SECRET, else they are random; the
    profile file that is written has them. What changes in DIR is seen while it runs. SIGTERM or
    Ctrl-C ends it; SIGUSR1 makes every URL signed so far count as expired.
    """
    # the other options have the same names as the settings
    chosen["api_key"] = os.environ.get("BACKLOT_API_KEY") or random_api_key()
    chosen["api_secret"] = os.environ.get("BACKLOT_API_SECRET") or random_api_secret()
    settings = EmulatorSettings(**chosen)
    with contextlib.ExitStack() as stack:
        try:
            library, found = _library(media, synthetic, follow_links=follow_links)
            plan = FaultPlan.from_json(faults) if faults else FaultPlan()
            log = stack.enter_context(_logging_to(request_log))
        except (ValueError, OSError) as error:
            raise Unusable(_in_words(error)) from error
        _raise_descriptor_limit()
        # before the server's thread starts: it inherits the mask, so only sigwait gets the signals
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        server = Emulator(library, settings, faults=plan, requests=log)
        try:
            stack.enter_context(server)
        except (OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
            where = f"{settings.host}:{settings.port}"
            reason = getattr(error, "strerror", None) or error
            raise click.ClickException(
                f"cannot listen on {where}: {reason}; choose another --host or --port"
            ) from error
        if config_out is None:
            prefix = "backlotfs-emulator-"
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix))
            config_out = Path(folder, "config.toml")
        try:
            _write_profile(config_out, server)
        except OSError as error:
            raise Unusable(
                f"cannot write the profile {config_out}: {error.strerror}; "
                "name a file in a folder of yours"
            ) from error
        if found is not None:
            stack.enter_context(following(library, found, click.echo))
        _announce(server, config_out)
        if ready_fd is not None:
            with open(ready_fd, "w", encoding="ascii") as ready:
                ready.write("READY\n")
        while signal.sigwait(_SIGNALS) == signal.SIGUSR1:
            server.expire_urls()


def _in_words(error: Exception) -> str:
    """The text of an error; for an error of the system, without its number."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; name another file"
    return str(error)


def _library(
    media: Path | None, synthetic: list[tuple[int, int]], *, follow_links: bool
) -> tuple[Library, FolderLibrary | None]:
    """The library to serve, and what was found in its media folder."""
    if media is None and not synthetic:
        raise ValueError("nothing to serve: give --media DIR, --synthetic COUNT, or both")
    library, found = Library(), None
    if media is not None:
        found = read_folder(media, follow_links=follow_links)
        library = Library(found.assets, found.labels)
        for names, what, why in (
            (found.scan.links, "link", "; --follow-links serves what they lead to"),
            (found.scan.hidden, "hidden file", ""),
            (found.scan.special, "special file", ": a FIFO, device or socket"),
            (found.scan.unreadable, "path", ": this user may not read it"),
            (found.scan.too_deep, "folder", ": nested too deeply"),
        ):
            if names:
                click.echo(f"{_counted(names, what)} skipped{why}")
    for seed, (count, size) in enumerate(synthetic):
        for asset in synthetic_assets(count, size_bytes=size, seed=seed):
            library.add(asset)
    return library, found


def _counted(names: Sequence[str], what: str) -> str:
    """``2 links (a.mov, b.mov) were``; names in ASCII, without escape sequences for a terminal."""
    shown = ", ".join(ascii(name[:80])[1:-1] for name in names[:_SHOWN_NAMES])
    more = ", …" if len(names) > _SHOWN_NAMES else ""
    ending, verb = ("s", "were") if len(names) > 1 else ("", "was")
    return f"{len(names)} {what}{ending} ({shown}{more}) {verb}"


def _raise_descriptor_limit() -> None:
    """Raise the limit of descriptors (usually 1024), because each connection takes one or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def _logging_to(path: Path | None) -> Iterator[RequestLog]:
    if path is None:
        yield RequestLog(kept_entries=KEPT_ENTRIES, kept_bytes=KEPT_BYTES)
        return
    complaints = ThrottledLog()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as lines:

        def write(entry: RequestEntry) -> None:
            fields = {n: v for n, v in asdict(entry).items() if not n.startswith("_")}
            try:
                lines.write(json.dumps(fields) + "\n")
                lines.flush()
            except OSError as error:  # the disk is full; requests are still answered
                complaints.warning("log", f"cannot write to {path}: {error.strerror}")

        yield RequestLog(write, kept_entries=KEPT_ENTRIES, kept_bytes=KEPT_BYTES)


def _write_profile(path: Path, server: Emulator) -> None:
    # replace the file: a link is not followed, and a file that others can read is not written to
    descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(
                "[profiles.emulator]\n"
                f"api_url = {json.dumps(server.api_url)}\n"
                f"api_key = {json.dumps(server.api_key)}\n"
                f"api_secret = {json.dumps(server.api_secret)}\n"
            )
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


def _announce(server: Emulator, config: Path) -> None:
    assets = len(server.library)
    click.echo(f"Serving {assets} asset{'s' * (assets != 1)} at {server.api_url}")
    if server.cdn_url is not None:
        click.echo(f"CDN host: {server.cdn_url}")
    click.echo(f"Credentials: profile 'emulator' in {config}")
    command = shlex.join(["backlotfs", "mount", "--config", str(config), "--profile", "emulator"])
    click.echo(f"Mount it with: {command} MOUNTPOINT")
