"""What the program knows as numbers and names only, and a reader has to have in words.

``tests/project/test_manual.py`` compares each table with the program: whoever adds an exit code, an
errno, a signal, a variable or an extended attribute writes here what it means.
"""

from __future__ import annotations

EXIT_CODES = {
    0: "Fine.",
    1: "Failed, for another reason than the following; the line on stderr says which.",
    2: "Wrong usage or settings: an option, the profile file, a folder.",
    3: "The API refuses the credentials, or this machine's clock is off.",
    4: "The API or a source host cannot be reached, or did not answer in time.",
    5: "FUSE is not usable here, or not on that mountpoint; or nothing is mounted there.",
    130: "Interrupted by Ctrl-C.",
}

#: Of ``mount.backlotfs``, as mount(8) has them.
HELPER_EXIT_CODES = {
    0: "Mounted.",
    1: "Wrong usage or settings: an option, the profile file.",
    32: "Not mounted, for another reason; the line on stderr says which.",
}

#: What an application may get from a call into the mount.
ERRNOS = {
    "EACCES": "The source host refuses a freshly signed URL, or the API refuses the credentials.",
    "EAGAIN": "The size of the file is not known yet, and `--unsized fail` says not to wait.",
    "EBADF": "A read by a handle that is closed already.",
    "EBUSY": "Of `umount`: files are open; the message names the processes.",
    "EINTR": "The caller was killed while it waited, or the mount is being taken down.",
    "EINVAL": "A link is asked for where there is none, or an argument makes no sense.",
    "EIO": "The host kept failing, or kept answering with something else than was asked for; the "
    "log says what.",
    "EISDIR": "A folder was opened as a file.",
    "ENODATA": "The API names no source file for the asset; or the asset has no attribute of this "
    "name.",
    "ENOENT": "There is no such name, or the source is gone from its host.",
    "ENOSYS": "A call that this file system does not have; the kernel asks once.",
    "ENOTDIR": "A file was used as a folder.",
    "ENOTSUP": "Extended attributes outside `user.*`.",
    "EROFS": "Anything that writes.",
    "ESTALE": "The source was replaced or deleted while the file was open: at the next read that "
    "is not cached, and at close, so that a copy cut short never ends well. Open it again.",
    "ETIMEDOUT": "There was silence for longer than the operation bears (30 s; a `stat` 5 s; an "
    "open or `stat` of a copying program 5 min), or no API credit came within `--credit-wait`, or "
    "the time of `--stat-timeout` or `--read-timeout` is over.",
}

SIGNALS = {
    "SIGHUP": "Look for news of the library now, as `backlotfs refresh` does.",
    "SIGINT": "As SIGTERM.",
    "SIGTERM": "Unmount and end, within seconds whatever hangs: reads that wait fail, then files "
    "still open are cut off.",
    "SIGUSR1": "Write the state to the log: where every thread is, and what `status` and `stats` "
    "show.",
    "SIGUSR2": "Log more: the next of error, warning, info, debug; after debug, the level it began "
    "with.",
}

ENVIRONMENT = {
    "BACKLOT_API_KEY": "The account's key; above the profile's.",
    "BACKLOT_API_SECRET": "The account's secret; above the profile's. There is no option for it: "
    "every user of the machine could read it.",
    "BACKLOT_API_URL": "The API's address; `--api-url` stands above it, the profile below.",
    "BACKLOT_CDN_URL": "A host for GETs that may be five minutes old; `--cdn-url` stands above it.",
    "CACHE_DIRECTORY": "Where caches go when `--cache-dir` does not say; set by systemd's "
    "`CacheDirectory=`.",
    "CREDENTIALS_DIRECTORY": "Set by systemd's `LoadCredential=`; its `api_key` and `api_secret` "
    "are taken when nothing else names them.",
    "JOURNAL_STREAM": "Set by systemd: which stderr is the journal's; lines bear a priority there, "
    "and no time.",
    "NOTIFY_SOCKET": "Set by systemd for `Type=notify`: readiness, progress and the watchdog's "
    "signs of life go there.",
    "NO_COLOR": "Set to anything: no colours.",
    "WATCHDOG_PID": "Set by systemd: whom `WATCHDOG_USEC` is meant for.",
    "WATCHDOG_USEC": "Set by systemd's `WatchdogSec=`: how often a sign of life is due.",
    "XDG_CACHE_HOME": "Instead of `~/.cache`.",
    "XDG_CONFIG_HOME": "Instead of `~/.config`.",
    "XDG_STATE_HOME": "Instead of `~/.local/state`.",
}

FILES = {
    "`~/.config/backlotfs/config.toml`": "Your profiles; see backlotfs.toml(5). Readable by you "
    "alone, or refused.",
    "`/etc/backlotfs/config.toml`": "Those of mounts that root makes by mount(8), and of users "
    "who have no file of their own.",
    "`~/.cache/backlotfs`": "Catalogs, cached blocks and signed URLs, for each library; "
    "`--cache-dir` names another place. May be deleted while nothing is mounted.",
    "`~/.cache/backlotfs/urls`": "The signed URLs that mounts keep over restarts; 0600. Who reads "
    "them can read those source files until they expire. `--forget-urls` deletes them.",
    "`~/.local/state/backlotfs/`*NAME*`.log`": "Log of a background mount where there is neither "
    "a journal nor syslog; 0600.",
    "`/run/user/`*UID*`/backlotfs`": "Private sockets by which `status` and others speak to "
    "running mounts; root's are in `/run/backlotfs`.",
    "`/etc/fuse.conf`": "`user_allow_other` lets users other than root mount with `allow_other`.",
}

XATTRS = {
    "user.backlot.asset_type": "`video`, `audio`, …",
    "user.backlot.created_at": "When the asset was made, as `2013-01-31T12:00:00Z`.",
    "user.backlot.description": "Its description.",
    "user.backlot.duration_ms": "Its length in milliseconds.",
    "user.backlot.embed_code": "Its id, which stays whatever it is called.",
    "user.backlot.external_id": "The id that another system gave it.",
    "user.backlot.name": "Its title.",
    "user.backlot.original_file_name": "The name it was uploaded by, before it was made safe.",
    "user.backlot.status": "`live`, `paused`, …",
    "user.backlot.updated_at": "When its record changed last.",
    "user.backlotfs.cached": "Bytes of the file that are in the mount's memory or on its disk.",
    "user.backlotfs.last_error": "When and why the last read or open of it that failed did; "
    "absent where none did since the mount began.",
    "user.backlotfs.pinned": "`1`: it stays on the disk; `0`: it may go for others.",
    "user.mime_type": "By the file name's extension.",
}
