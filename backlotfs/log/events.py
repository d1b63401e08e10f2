# SPDX-License-Identifier: Apache-2.0
"""The events of a mount's log: names and fields that programs can rely on.

One line is one event. A text log has the event's sentence; a JSON log has its name and fields as
well. `docs/logs.md` lists all events, and a test compares this list with the module. Log lines that
are not events have no name and the level debug: they are for debugging backlotfs itself.
"""

from __future__ import annotations

import json
import logging
import string
from dataclasses import dataclass
from typing import Final

_DEBUG, _INFO, _WARNING = logging.DEBUG, logging.INFO, logging.WARNING
_ERROR, _CRITICAL = logging.ERROR, logging.CRITICAL


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of log line.

    :ivar name: the same in all releases.
    :ivar level: the usual level, a number of `logging`.
    :ivar text: the sentence, with ``{field}`` for the value of a field.
    :ivar every_s: equal lines are written once in this time; None: the default of
        `output.RepeatFilter`.
    """

    name: str
    level: int
    text: str
    every_s: float | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in their order in the sentence."""
        named = [name for _, name, _, _ in string.Formatter().parse(self.text) if name]
        return tuple(dict.fromkeys(named))

    def log(
        self,
        log: logging.Logger,
        /,
        *,
        at: int | None = None,
        failure: BaseException | None = None,
        **fields: object,
    ) -> None:
        """Write the line. Thread-safe.

        :param log: logger of the calling module.
        :param at: a level to use instead of the usual one.
        :param failure: an exception whose traceback is written too.
        :param fields: a value for each of `fields`; objects become JSON in the sentence.
        """
        level = self.level if at is None else at
        if log.isEnabledFor(level):
            texts = {name: _as_text(value) for name, value in fields.items()}
            log.log(
                level,
                "%s",
                self.text.format(**texts),
                exc_info=failure,
                extra={"event": self.name, "fields": fields, "every_s": self.every_s},
                stacklevel=2,
            )


def _as_text(value: object) -> object:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value


# Start, state and end of a mount.
LISTING: Final = Event("listing", _INFO, "listing the library {source} for the first time")
MOUNTED: Final = Event(
    "mounted", _INFO, "mounted {source} on {mountpoint}: {assets} assets (backlotfs {version})"
)
METRICS: Final = Event(
    "metrics", _INFO, "scrapes of Prometheus are answered at http://{address}/metrics"
)
DEAD_MOUNT_CLEARED: Final = Event(
    "dead-mount-cleared", _INFO, "cleared the dead mount on {mountpoint}"
)
MOUNT_FAILED: Final = Event(
    "mount-failed", _ERROR, "the mount failed, exit code {exit_code}: {reason}"
)
STALE: Final = Event(
    "stale", _WARNING, "the mount shows the last listing, which is STALE: {reason}"
)
SIGNAL: Final = Event("signal", _INFO, "received {signal}")
SIGNAL_FAILED: Final = Event("signal-failed", _ERROR, "handling {signal} failed")
VERBOSITY: Final = Event("verbosity", _INFO, "log level changed from {was} to {now}")
STACK: Final = Event("stack", _INFO, "stack of {threads}: {frames}")
STATE: Final = Event(
    "state", _INFO, "state: {assets} assets, {open_files} files open, {threads} threads; {details}"
)
UNMOUNT_FAILED: Final = Event("unmount-failed", _WARNING, "unmounting: {reason}")
FILES_OPEN: Final = Event(
    "files-open", _INFO, "files are still open after {seconds} s: ending anyway"
)
UNMOUNTED: Final = Event(
    "unmounted",
    _INFO,
    "unmounted {mountpoint} after {seconds} s: {reads} reads of {read_bytes} bytes,"
    " {failed} failed; {fetched_bytes} bytes fetched",
)
WATCHDOG_SILENT: Final = Event(
    "watchdog-silent", _WARNING, "{mountpoint} has not answered for {seconds} s"
)
WATCHDOG_BLIND: Final = Event(
    "watchdog-blind", _WARNING, "the watchdog could not check the mount: {reason}"
)
CONTROL_OFF: Final = Event(
    "control-off",
    _WARNING,
    "`status`, `stats` and `refresh` do not work for now: {reason}",
    every_s=3600.0,
)
COMMAND_FAILED: Final = Event("command-failed", _ERROR, "a control command failed: {command}")

# Errors that applications get.
OPERATION_FAILED: Final = Event("operation-failed", _WARNING, "{operation}: {errno}: {reason}")
OPERATION_CRASHED: Final = Event(
    "operation-crashed", _ERROR, "{operation} failed unexpectedly: {kind}"
)

# Sources and their hosts.
SOURCE_REPLACED: Final = Event(
    "source-replaced", _INFO, "the source of {embed_code} was replaced; it has {size} bytes now"
)
SOURCE_UNKNOWN: Final = Event(
    "source-unknown", _INFO, "the source of {embed_code} could not be probed: {reason}"
)
SIZE_DIFFERS: Final = Event(
    "size-differs",
    _INFO,
    "the source of {embed_code} has {size} bytes; the API says {api_size}",
)
SIZES: Final = Event("sizes", _INFO, "{known} of {total} sizes are known")
CAPTIONS: Final = Event("captions", _INFO, "searched captions of {asked} assets; {found} have some")
CAPTIONS_SKIPPED: Final = Event(
    "captions-skipped", _WARNING, "skipped the captions of {embed_code}: {reason}"
)
CAPTION_BACKFILL_PAUSED: Final = Event(
    "caption-backfill-paused", _WARNING, "caption backfill paused: {reason}"
)
URLS: Final = Event(
    "urls", _INFO, "signed URLs: {refused} refused, {renewed} renewed in {seconds} s"
)
HOST_DOWN: Final = Event("host-down", _INFO, "{reason}; trying {host} again every {seconds} s")
HOST_UP: Final = Event("host-up", _INFO, "{host} can be reached again")

# The listing.
LISTED: Final = Event(
    "listed", _INFO, "the library was listed: {new} new, {changed} changed, {removed} removed"
)
REFRESHED: Final = Event(
    "refreshed",
    _INFO,
    "the library was brought up to date: {new} new, {changed} changed, {removed} removed",
)
REFRESH_FAILED: Final = Event(
    "refresh-failed",
    _WARNING,
    "the library could not be refreshed; the last listing is still shown: {reason}",
)
WHERE_IGNORED: Final = Event(
    "where-ignored", _INFO, "the server ignores `where`: each refresh lists the whole library"
)
LISTING_RESUMED: Final = Event("listing-resumed", _INFO, "continuing an interrupted listing")
LISTING_RESTARTED: Final = Event(
    "listing-restarted",
    _INFO,
    "the interrupted listing cannot be continued; listing from the start",
)
RECORD_SKIPPED: Final = Event(
    "record-skipped", _WARNING, "skipped a record of the library: {reason}"
)
RECORDS_SKIPPED: Final = Event(
    "records-skipped", _WARNING, "skipped {count} more records of the library"
)
LABEL_SKIPPED: Final = Event("label-skipped", _WARNING, "skipped a label of {route}: {reason}")
LABEL_UNKNOWN: Final = Event(
    "label-unknown",
    _WARNING,
    "the rule {rule} matches nothing: the library has no such label",
)
NOTHING_SHOWN: Final = Event(
    "nothing-shown",
    _WARNING,
    "no asset of the library is shown: none passes the rules of --include and --exclude",
)
SIZES_TO_COME: Final = Event(
    "sizes-to-come",
    _INFO,
    "the sizes of {files} files are not known yet; to find them takes about {seconds} s; copies "
    "that start now wait for the sizes they need",
)
CREDITS_LOW: Final = Event(
    "credits-low",
    _INFO,
    "the account's API credits are low: {left} of {limit} left, more in {seconds} s",
    every_s=600.0,
)
CREDITS_AWAITED: Final = Event(
    "credits-awaited",
    _INFO,
    "{waiting} calls wait for API credits, more in {seconds} s; no operation fails because of it",
    every_s=60.0,
)
CREDITS_REFUSED: Final = Event(
    "credits-refused", _WARNING, "the API refuses calls (429) for {seconds} s", every_s=60.0
)

# What is kept on disk.
PINNED: Final = Event(
    "pinned",
    _INFO,
    "the pinned {embed_code} is complete on disk; fetched {fetched_bytes} missing bytes",
)
PIN_INCOMPLETE: Final = Event(
    "pin-incomplete",
    _WARNING,
    "a pinned file is not complete on disk yet: {reason}",
    every_s=3600.0,
)
PIN_REMOVED: Final = Event("pin-removed", _INFO, "{embed_code} was deleted; its pin was removed")
DISK_CACHE_AWAITED: Final = Event(
    "disk-cache-awaited",
    _INFO,
    "waiting for the disk cache {path}, which the mount before this one still closes",
)
DISK_CACHE_OFF: Final = Event("disk-cache-off", _INFO, "{reason}")
DISK_CACHE_PAUSED: Final = Event(
    "disk-cache-paused", _WARNING, "disk cache {path} paused: {reason}"
)
DISK_CACHE_REMADE: Final = Event(
    "disk-cache-remade",
    _WARNING,
    "disk cache {path} was removed while it was in use; a new, empty one is used from now on",
)
CACHE_CORRUPTION: Final = Event(
    "cache-corruption",
    _INFO,
    "disk cache {path}: discarded corrupt blocks; fetching them again",
    every_s=3600.0,
)
CATALOG_SET_ASIDE: Final = Event(
    "catalog-set-aside",
    _WARNING,
    "the saved catalog cannot be used ({reason}); it was set aside as {path},"
    " and the library is listed again",
)
CATALOG_NOT_KEPT: Final = Event(
    "catalog-not-kept",
    _WARNING,
    "the catalog cannot be kept in {path} ({reason}): this mount forgets it when it ends",
)
CATALOG_UNUSABLE: Final = Event(
    "catalog-unusable", _WARNING, "the saved catalog cannot be used: {reason}"
)
CACHE_FILE_REMADE: Final = Event(
    "cache-file-remade",
    _WARNING,
    "{path} was removed while it was in use: it was written again, with the same content",
)
CATALOG_TROUBLE: Final = Event(
    "catalog-trouble", _WARNING, "the catalog cannot be used for now: {reason}"
)
SAVED_URLS_REMOVED: Final = Event(
    "saved-urls-removed",
    _WARNING,
    "the saved URLs in {path} cannot be used ({reason}): the file was removed",
)
URLS_NOT_KEPT: Final = Event(
    "urls-not-kept",
    _WARNING,
    "signed URLs cannot be kept in {path} ({reason}): this mount has them in memory only",
    every_s=3600.0,
)
SOURCES_UNSAVED: Final = Event(
    "sources-unsaved", _WARNING, "sizes that were found are not saved yet: {reason}"
)
SOURCES_LOST: Final = Event(
    "sources-lost", _WARNING, "the last sizes that were found could not be saved: {reason}"
)
BACKFILL_PAUSED: Final = Event("probe-backfill-paused", _WARNING, "size backfill paused: {reason}")
BACKFILL_LOCKED: Final = Event(
    "probe-backfill-locked",
    _WARNING,
    "the lock of the size backfill could not be released; it expires soon: {reason}",
)

# Internal errors. Please report them.
CRASHED: Final = Event("crashed", _CRITICAL, "{where} failed unexpectedly:\n{traceback}")
JOB_FAILED: Final = Event("job-failed", _ERROR, "a job of {pool} failed unexpectedly")
PLAN_FAILED: Final = Event("plan-failed", _ERROR, "the prefetch after a read could not be planned")
NO_THREAD: Final = Event("no-thread", _WARNING, "no new thread can be started for pool {pool}")
RECEIVER_STARVED: Final = Event(
    "receiver-starved", _WARNING, "no thread receives requests while others wait: {reason}"
)
NOTIFICATION_LOST: Final = Event(
    "notification-lost",
    _ERROR,
    "a change may be shown late: the kernel could not be told to forget a name: {reason}",
)
REQUEST_MALFORMED: Final = Event(
    "request-malformed", _ERROR, "the kernel sent a request that cannot be read: {reason}"
)
DEVICE_LOST: Final = Event(
    "device-lost", _ERROR, "requests of the kernel cannot be received any more: {reason}"
)

#: By name.
EVENTS: Final = {
    event.name: event for event in list(globals().values()) if isinstance(event, Event)
}
