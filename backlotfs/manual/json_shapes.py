"""What ``--json`` prints: every key with its meaning.

``a.b`` is ``b`` of the object ``a``, ``a[].b`` that of each object of a list, *NAME* a key that is
itself a value. ``tests/mounted/test_json_shapes.py`` compares this with what commands print.
"""

from __future__ import annotations

_MOUNT = {
    "source": "What is mounted, as `df` shows it.",
    "mountpoint": "Where.",
    "pid": "The process of the mount.",
}

_ASSET = {
    "file": "Its name on a mount.",
    "embed_code": "Its id.",
    "title": "Its title.",
    "original_file_name": "The name it was uploaded by.",
    "asset_type": "`video`, `audio`, …",
    "status": "`live`, `paused`, …",
    "duration_ms": "Its length in milliseconds.",
    "created_at": "When it was made.",
    "updated_at": "When its record changed last.",
    "external_id": "The id that another system gave it.",
    "description": "Its description.",
}

_READS = {
    "asked_bytes": "Bytes that the kernel asked the mount for.",
    "reads": "In so many reads.",
    "failed": "Reads that ended with an error.",
    "blocks.memory": "Blocks of 64 KiB that memory had.",
    "blocks.disk": "Those that the disk had.",
    "blocks.network": "Those that the read waited for.",
}

_FETCHED = {
    "files[].path": "The file.",
    "files[].size": "Its size in bytes.",
    "files[].held_before": "Bytes that were on the disk before.",
    "files[].held": "Bytes that are now.",
    "files[].fetched_bytes": "Bytes fetched for it.",
    "files[].pinned": "Whether it is pinned.",
    "files[].error": "Why it is not held whole, or null.",
    "held_bytes": "Of all files.",
    "fetched_bytes": "For all files.",
    "failed": "Files that are not held whole.",
    "seconds": "How long it took.",
}

SHAPES: dict[str, dict[str, str]] = {
    "backlotfs status": {
        **_MOUNT,
        "assets": "Files that are listed.",
        "sizes.sized": "Sizes that are known.",
        "sizes.missing": "Assets without a source.",
        "sizes.total": "Assets in the catalog.",
        "sizes.seconds_left": "How long finding out the rest takes; null: nothing is left, or "
        "nobody knows.",
        "synced_at": "When the library was listed last, in seconds since 1970.",
        "stale": "Whether the last look for news failed.",
        "last_error": "Why, or null.",
        "credits.credits_left": "API credits left in this window; null: the server names none.",
        "credits.limit": "Of so many; null as above.",
        "credits.resets_in_s": "Seconds until all are back.",
        "credits.refused_for_s": "Seconds for which the server wants no more calls.",
        "credits.waiting": "Calls that wait: of a `stat`, of a listing, of the crawl.",
        "url_refreshes": "Signed URLs asked of the API.",
        "log": "Where the mount logs: `stderr`, `syslog` or a file.",
    },
    "backlotfs stats": {
        **_MOUNT,
        "since": "When the mount began, in seconds since 1970.",
        **{f"reads.{key}": text for key, text in _READS.items()},
        **{f"processes.NAME.{key}": text for key, text in _READS.items()},
        "fetched_bytes": "Bytes of sources that came over the line.",
        "amplification": "How many that is for each byte asked; null: none was asked.",
        "warmed_bytes": "Of these, by `backlotfs warm`.",
        "unused_bytes": "Of these, what no read has had so far.",
        "requests.made": "GETs to source hosts.",
        "requests.whole": "Those that ended whole.",
        "requests.dropped": "Nobody wanted the rest.",
        "requests.overloaded": "Answered 429 or 503.",
        "requests.cut": "Ended early.",
        "requests.refused": "Expired, gone or replaced.",
        "hedges.made": "Second GETs for what came late.",
        "hedges.won": "Those that came first.",
        "url_refreshes": "Signed URLs asked of the API.",
        "memory.budget_bytes": "Memory for blocks.",
        "memory.cached_bytes": "Of it, blocks that are kept.",
        "memory.leased_bytes": "Blocks that are being given to readers.",
        "memory.under_way_bytes": "Room for what transfers bring.",
        "disk.held_bytes": "Blocks on disk; `disk` is null where there is no disk tier.",
        "disk.budget_bytes": "Of so much.",
        "disk.hits": "Blocks looked for and found.",
        "disk.misses": "Looked for and not found.",
        "disk.damaged": "Those that did not verify, and were fetched anew.",
        "disk.evicted": "Those that went for others.",
        "disk.turned_away": "Those not kept, as the disk did not keep up.",
    },
    "backlotfs doctor": {
        "exit_code": "What `mount` would exit with.",
        "findings[].check": "What was looked at.",
        "findings[].verdict": "`ok`, `note` or `FAILED`.",
        "findings[].detail": "What was found.",
        "findings[].remedy": "The command that mends it, or null.",
        "findings[].exit_code": "What `mount` would exit with because of it.",
    },
    "backlotfs ls": _ASSET,
    "backlotfs info": {
        **_ASSET,
        "file_size": "The size by the API's word, in bytes.",
        "source": "`available`, `missing` or `no URL`.",
    },
    "backlotfs warm": _FETCHED,
    "backlotfs pin": _FETCHED,
    "backlotfs unpin": {
        "files": "Files that were pinned and are not any more.",
        "size": "Their size in bytes.",
    },
    "backlotfs pins": {
        "quota_bytes": "What all pins may take of the disk.",
        "needed_bytes": "What they take once all of them are held whole.",
        "held_bytes": "What they take now.",
        "files[].id": "The embed code of a pinned file.",
        "files[].paths": "Where it is on the mount; none: not in the library now.",
        "files[].size": "Its size in bytes.",
        "files[].held": "Bytes of it that are on the disk.",
    },
    "backlotfs export": {
        "destination": "DEST.",
        "manifest": "The manifest's path.",
        "seconds": "How long it took.",
        "bytes": "Bytes copied, or to be copied.",
        "copied": "Files.",
        "unchanged": "Files that were there already.",
        "failed": "Files.",
        "planned": "Files that `--dry-run` names.",
        "files[].name": "Below DEST.",
        "files[].state": "`copied`, `unchanged`, `failed` or `planned`.",
        "files[].size_bytes": "Its size.",
        "files[].sha256": "Its digest, or null.",
        "files[].reason": "Why it failed, or null.",
    },
    "backlotfs verify": {
        "destination": "DEST.",
        "checked": "Files of the manifest.",
        "bytes": "Bytes of these.",
        "problems[].name": "A file that is wrong or missing.",
        "problems[].reason": "How.",
        "not_in_manifest": "Files that the manifest does not know.",
        "unfinished": "Files that are half exported.",
    },
}
