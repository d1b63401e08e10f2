"""Names that desktops and tools ask every folder for, and no media library holds. Pure.

Only for skipping work (a refresh, a request) after the tree was asked in vain: an asset that really
has such a name is in the tree, and wins.

Not here, because a mount may want to answer them: ``.metadata_never_index`` (macOS asks whether it
may index the volume) and ``.sh_thumbnails`` (shared thumbnails).
"""

from __future__ import annotations

import re

_MACOS = (
    *(".DS_Store", ".localized", ".hidden", ".apdisk", "Icon\r", ".VolumeIcon.icns"),
    *(".Spotlight-V100", ".fseventsd", ".TemporaryItems", ".Trashes", ".AppleDouble"),
    *(".AppleDesktop", ".DocumentRevisions-V100", ".com.apple.timemachine.donotpresent"),
    *("Network Trash Folder", "Temporary Items", "TheVolumeSettingsFolder"),
)
_WINDOWS = (
    *("Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "autorun.inf"),
    *("$RECYCLE.BIN", "RECYCLER", "System Volume Information", "WPSettings.dat"),
)
_FREEDESKTOP = (
    *(".Trash", ".directory", ".xdg-volume-info", ".autorun", "autorun.sh", ".autostart"),
    *(".thumbnails", ".nomedia", ".comments", ".picasa.ini"),
)
# shell prompts, editors and backup programs
_TOOLS = (
    *(".git", ".svn", ".hg", ".bzr", ".jj", "CVS", "_darcs", ".fslckout", ".envrc"),
    *(".gitignore", ".gitattributes", ".editorconfig", ".project", ".vscode", ".idea"),
    *(".nobackup", "CACHEDIR.TAG", ".rsync-filter", ".htaccess"),
)
_NAMES = frozenset(name.lower() for name in (*_MACOS, *_WINDOWS, *_FREEDESKTOP, *_TOOLS))
# AppleDouble files, a user's waste-basket, what NFS and FUSE clients rename open files to
_PATTERN = re.compile(
    r"\._.|\.trash-\d+\Z|\.nfs[0-9a-f]{8,}\Z|\.fuse_hidden[0-9a-f]{8,}\Z",
    re.DOTALL | re.ASCII,
)


def is_noise(name: str) -> bool:
    """Whether ``name``, the last component of a path, is such a name, in any case of its letters.

    Well under a microsecond. Look into the tree first: see above.
    """
    lowered = name.lower()
    return lowered in _NAMES or _PATTERN.match(lowered) is not None
