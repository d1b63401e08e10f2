"""Examples of the manual pages."""

from __future__ import annotations

from backlotfs.manual.blocks import Block, Code

PROGRAM: tuple[Block, ...] = (
    "Write a profile, look whether all is well, mount, and read:",
    Code(
        "backlotfs config init\n"
        "backlotfs doctor --profile main\n"
        "backlotfs mount --profile main ~/library\n"
        "ls -l ~/library\n"
        "rsync -a ~/library/ /archive/\n"
        "backlotfs umount ~/library"
    ),
    "Have a folder on the disk before a shoot without a line, and copy it with proof:",
    Code(
        "backlotfs warm ~/library/News\n"
        "backlotfs export ~/library/News /archive\n"
        "backlotfs verify /archive"
    ),
    "By labels and by dates, at most 80 Mbit/s, with 50 GiB of disk:",
    Code(
        "backlotfs mount --profile main --layout labels,dates \\\n"
        "    --bwlimit 80Mbit --cache-size 50G ~/library"
    ),
    "Try it without a library:",
    Code("backlotfs demo"),
)

#: Of the pages of single commands.
COMMANDS: dict[str, tuple[Block, ...]] = {
    "backlotfs mount": (
        "A profile's library in a folder of yours, for programs of other users too:",
        Code("backlotfs mount --profile main --allow-other ~/library"),
        "By labels and by dates, at most 80 Mbit/s, and all that is read kept in 50 GiB of disk:",
        Code(
            "backlotfs mount --profile main --layout labels,dates \\\n"
            "    --bwlimit 80Mbit --cache-size 50G ~/library"
        ),
        "Without a profile, in the foreground, the log on the terminal:",
        Code(
            "export BACKLOT_API_URL=https://backlot.example BACKLOT_API_KEY=...\n"
            "read -rs BACKLOT_API_SECRET && export BACKLOT_API_SECRET\n"
            "backlotfs mount --foreground ~/library"
        ),
    ),
    "backlotfs export": (
        "A file and a folder; then the contents of a folder, after a look at what it would be:",
        Code(
            "backlotfs export ~/library/reel.mov ~/library/News /archive\n"
            "backlotfs export --dry-run ~/library/ /archive\n"
            "backlotfs export ~/library/ /archive"
        ),
        "Again, with every byte of what is there compared with the library:",
        Code("backlotfs export --checksum ~/library/ /archive"),
    ),
    "backlotfs verify": (
        "Every byte against the manifest, and sizes against the library; then without backlotfs:",
        Code(
            "backlotfs verify /archive --source ~/library/\n"
            "cd /archive && sha256sum -c MANIFEST.sha256"
        ),
    ),
    "backlotfs warm": (
        "One folder, leaving the line to others:",
        Code("backlotfs warm --jobs 1 ~/library/News"),
    ),
    "backlotfs ls": (
        "The names of all videos, for a script:",
        Code("backlotfs ls --json --profile main | jq -r 'select(.asset_type==\"video\").file'"),
    ),
    "backlotfs status": (
        "Is it up to date? For monitoring:",
        Code("backlotfs status --json ~/library | jq -e '.stale | not'"),
    ),
    "backlotfs emulator": (
        "A folder, and a library of a hundred thousand files that needs no disk:",
        Code(
            "backlotfs emulator --media ~/Videos --config-out ~/emulator.toml\n"
            "backlotfs emulator --synthetic 100000x5M --config-out ~/emulator.toml"
        ),
    ),
}

CONFIG: tuple[Block, ...] = (
    Code(
        "[profiles.main]\n"
        'api_url = "https://backlot.example"\n'
        'api_key = "your key"\n'
        'api_secret_file = "/home/you/.backlot-secret"\n'
        "\n"
        "[profiles.archive]\n"
        'api_url = "https://archive.studio.example"\n'
        'api_key = "your key"\n'
        'api_secret_command = "pass show backlot/archive"\n'
        'options = "allow_other,uid=1000"\n'
        'ca_bundle = "/etc/ssl/studio-ca.pem"\n'
        'allow_source_hosts = ["media.studio.example", "10.1.0.0/16"]'
    ),
)

MOUNT8: tuple[Block, ...] = (
    Code(
        "mount -t backlotfs backlot:main /mnt/backlot -o uid=1000,gid=1000,allow_other\n"
        "umount /mnt/backlot"
    ),
)

FSTAB: tuple[Block, ...] = (
    "A line of fstab that never keeps a boot waiting: it is mounted when somebody first looks.",
    Code(
        "backlot:main /mnt/backlot backlotfs "
        "defaults,_netdev,nofail,x-systemd.automount,uid=1000,allow_other 0 0"
    ),
)
