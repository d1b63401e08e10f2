"""What an option's one line of ``--help`` leaves out; by command and click's parameter."""

from __future__ import annotations

#: Values that several options take.
VALUES = {
    "SIZE": "Bytes, in powers of 1024: `4096`, `256M`, `1.5GiB`.",
    "RATE": "Bytes a second, in powers of 1024: `10M`; with `bit` of 1000: `80Mbit`. `0` is no "
    "limit.",
    "DURATION": "Seconds, or with a unit: `500ms`, `90s`, `5m`, `72h`, `1d`.",
}

DETAILS = {
    ("backlotfs mount", "api_url"): "`https://api.ooyala.com` when nothing names one.",
    ("backlotfs mount", "cdn_url"): "Its answers cost no API credits. With the API's own default "
    "address the one that belongs to it is taken.",
    ("backlotfs mount", "config"): "`~/.config/backlotfs/config.toml`, else "
    "`/etc/backlotfs/config.toml`, when neither is named.",
    ("backlotfs mount", "cache_dir"): "Mounts of one library share the catalog there; the blocks "
    "belong to one mount at a time, and the second goes on without.",
    ("backlotfs mount", "cache_size"): "Without it, what the line brings faster than a disk would "
    "is not written; with a size of your own, everything that is read is kept.",
    ("backlotfs mount", "pin_quota"): "Of the disk tier: `80%`, or as a size `8G`. Blocks count "
    "whole. The rest is for what is merely read.",
    ("backlotfs mount", "layout"): "`flat`: every file in the root. `labels`: the tree of labels; "
    "a file is in each of its labels, the others in `Unlabeled`. `dates`: `2013/01`. `by-id`: a "
    "folder for each embed code.",
    ("backlotfs mount", "names"): "`original`: of assets with the same name the oldest keeps it, "
    "each other gets its embed code before the extension, and a name once given stays. "
    "`always-id`: the embed code is in every name, so that all hosts agree for ever. `portable`: "
    "fit for Windows and SMB, and unique without regard to case.",
    ("backlotfs mount", "api_timeout"): "Each packet of an answer starts it anew. A listing that "
    "runs into it goes on with smaller pages: 500 assets, then 100, then 20. Longer than 25 s, it "
    "also raises the defaults of `--stat-timeout` and `--read-timeout`.",
    ("backlotfs mount", "stat_timeout"): "Then it fails with ETIMEDOUT, for every program, and "
    "waits for API credits count. Without it, 5 s of silence are borne (5 min by programs that "
    "copy), waits for credits not counted, and a program that runs into that three times is not "
    "kept waiting again for 30 s.",
    ("backlotfs mount", "read_timeout"): "Then it fails with ETIMEDOUT, also where the kernel asks "
    "a second time. At least 1 s. Without it, 30 s of silence are borne, waits for API credits "
    "not counted.",
    ("backlotfs mount", "credit_wait"): "The API counts its calls, and a call that has to wait for "
    "the next ones waits so long at most. Then the operation fails with ETIMEDOUT.",
    ("backlotfs mount", "unsized"): "`wait`: it waits for the size. `hide`: there is no such file "
    "yet. `fail`: EAGAIN. File managers, and `ls` on a terminal, are not made to wait in any case, "
    "and shells always get all names.",
    ("backlotfs mount", "no_wait"): "By its name as `ps -o comm` shows it.",
    ("backlotfs mount", "wait"): "For a mount in the background: shows a bar on a terminal, and "
    "lines in a pipe. The value follows `=`.",
    ("backlotfs mount", "bwlimit"): "Prefetch and `warm` included.",
    ("backlotfs mount", "memory"): "Of all files together, however many are open.",
    ("backlotfs mount", "metadata_ttl"): "An older one is refreshed when somebody uses the mount: "
    "two calls of the API, whatever the library's size.",
    (
        "backlotfs mount",
        "max_assets",
    ): "Also one of which 100 pages in a row bring nothing new. The "
    "last good listing stays, `status` and the log say why, and the next try comes an hour later.",
    ("backlotfs mount", "max_listing_bytes"): "Counted unpacked.",
    ("backlotfs mount", "include_type"): "Without it every type that has a source.",
    ("backlotfs mount", "include_status"): "Without it every status.",
    ("backlotfs mount", "uid"): "For programs that look at owners; who may read is decided by "
    "`--umask` and `--allow-other`.",
    ("backlotfs mount", "allow_other"): "Root needs nothing for it, others "
    "`user_allow_other` in `/etc/fuse.conf`.",
    ("backlotfs mount", "log_file"): "Made 0600. Without it the journal or syslog, else "
    "`~/.local/state/backlotfs/`*NAME*`.log`; with `-f` stderr. `backlotfs status` shows where.",
}
