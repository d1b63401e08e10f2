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
