"""The manual pages: backlotfs(1), one for each command, backlotfs.toml(5), mount.backlotfs(8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from backlotfs.cli import commands as program
from backlotfs.cli.mount import mount
from backlotfs.cli.mount_helper import NOT_FOR_US, NOT_OPTIONS, helper
from backlotfs.cli.mount_options import IMPLIED, SETTABLE
from backlotfs.config.profile_keys import PROFILE_KEYS
from backlotfs.manual import facts
from backlotfs.manual.blocks import Block, Code, Page, Section, Term, term
from backlotfs.manual.commands import (
    Command,
    all_commands,
    as_mount_option,
    command_of,
    options_of,
)
from backlotfs.manual.details import VALUES
from backlotfs.manual.examples import COMMANDS, CONFIG, FSTAB, MOUNT8, PROGRAM
from backlotfs.manual.json_shapes import SHAPES


def all_pages() -> list[Page]:
    """Every page there is."""
    found = all_commands()
    return [_program(found), *(_command(command) for command in found), _profiles(), _mount8()]


def exit_codes(codes: Mapping[int, str] = facts.EXIT_CODES) -> list[Term]:
    """One term for each."""
    return [term(str(code), text) for code, text in codes.items()]


def named(table: Mapping[str, str]) -> list[Term]:
    """One term for each row of a table of `facts`."""
    return [term(name, text) for name, text in table.items()]


def profile_keys() -> list[Term]:
    """One term for each key of a profile."""
    return [
        term(f"`{key.name}` ({key.kind})", key.meaning, f"Default: {key.default}.")
        for key in PROFILE_KEYS
    ]


def mount_options() -> list[Section]:
    """What ``-o`` takes: of `backlotfs mount`, and of mount(8) beside that."""
    # in the program, whose help options it has: click remembers what it is asked first
    outside = click.Context(program, **program.context_settings)
    context = click.Context(mount, outside, info_name="mount")
    own = [
        term(f"`{name}`=*{value}*" if value else f"`{name}`", text)
        for name, (value, text) in SETTABLE.items()
    ]
    also = [
        as_mount_option(option, context)
        for option in options_of(mount)
        if option.name not in NOT_OPTIONS | set(SETTABLE)
    ]
    return [
        Section(
            "Options of -o",
            (
                "`backlotfs mount -o`, the profile's `options` and mount(8) take these:",
                *own,
                f"These are so anyway: {_list(IMPLIED)}.",
                "Secrets are refused, whatever they are called: every user can read a command "
                "line and fstab. `backlotfs mount -o` refuses `rw`, `suid`, `dev` and `exec` too.",
            ),
        ),
        Section(
            "Options of mount(8) and fstab beside these",
            (
                "Every long option of `backlotfs mount`, with `_` or `-`. A value with a comma "
                'goes between double quotes: `layout="labels,dates"`.',
                *also,
                "What fstab says to others is accepted and changes nothing: "
                f"{_list(NOT_FOR_US)}, and whatever begins with `x-`. The mount is read-only, "
                "`nosuid`, `nodev` and `noexec` all the same.",
                "`remount` is refused: unmount, then mount anew. `wait` is refused: a boot would "
                "wait for all sizes, which may take hours; `backlotfs status --watch` shows how "
                "far the mount is. Anything else is named and refused, unless `-s` is given.",
            ),
        ),
    ]


def json_keys(command: Command, title: str) -> list[Section]:
    """What its ``--json`` prints, if it has that."""
    keys = SHAPES.get(command.name)
    return [Section(title, tuple(named(keys)))] if keys else []


def _list(names: frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def synopsis(commands: Sequence[Command]) -> list[Block]:
    """The line of each."""
    return [Code("\n".join(f"{command.name} {command.usage}" for command in commands))]


def _program(commands: Sequence[Command]) -> Page:
    details = [
        Section(
            command.name, (f"`{command.name}` {command.usage}", *command.text, *command.options)
        )
        for command in commands
    ]
    return Page(
        "backlotfs",
        1,
        "mount a Backlot video library as a read-only folder",
        (
            Section("SYNOPSIS", tuple(synopsis(commands))),
            Section(
                "DESCRIPTION",
                (
                    "`backlotfs` shows a Backlot video library (the Ooyala Backlot V2 REST API, "
                    "and any server that speaks it) as a read-only folder of the original source "
                    "files, by their original names, with their true sizes. Programs read them as "
                    "they read any file; what they read is fetched, and cached, as they go.",
                    "An open file is one version of its source. A right byte or a clear error: "
                    "never a wrong byte, and never a short copy that ends well.",
                    "Each failure is one line on stderr that names the remedy. `--help` after any "
                    "command says what it takes; `--version` which version this is.",
                ),
            ),
            Section("COMMANDS", parts=tuple(details)),
            Section("VALUES", tuple(named(VALUES))),
            Section("EXIT STATUS", tuple(exit_codes())),
            Section(
                "ERRORS",
                ("What an application may get from a file of the mount:", *named(facts.ERRNOS)),
            ),
            Section(
                "EXTENDED ATTRIBUTES",
                (
                    "`getfattr -d` *FILE* shows what the library says of a file:",
                    *named(facts.XATTRS),
                ),
            ),
            Section("ENVIRONMENT", tuple(named(facts.ENVIRONMENT))),
            Section("FILES", tuple(named(facts.FILES))),
            Section("SIGNALS", ("A running mount understands:", *named(facts.SIGNALS))),
            Section("EXAMPLES", tuple(PROGRAM)),
            Section(
                "SEE ALSO",
                (
                    "backlotfs.toml(5), mount.backlotfs(8), fuse(8), fstab(5), getfattr(1), "
                    "sha256sum(1); " + ", ".join(f"{command.page_name}(1)" for command in commands),
                ),
            ),
        ),
    )


def _command(command: Command) -> Page:
    options = (Section("OPTIONS", command.options),) if command.options else ()
    shown = COMMANDS.get(command.name)
    examples = (Section("EXAMPLES", shown),) if shown else ()
    return Page(
        command.page_name,
        1,
        command.purpose[0].lower() + command.purpose[1:],
        (
            Section("SYNOPSIS", (f"`{command.name}` {command.usage}",)),
            Section("DESCRIPTION", command.text),
            *options,
            *json_keys(command, "JSON"),
            Section("EXIT STATUS", tuple(exit_codes())),
            *examples,
            Section("SEE ALSO", ("backlotfs(1), backlotfs.toml(5), mount.backlotfs(8)",)),
        ),
    )


def _profiles() -> Page:
    return Page(
        "backlotfs.toml",
        5,
        "profiles of backlotfs: which libraries there are, and who you are for them",
        (
            Section(
                "SYNOPSIS", tuple(named({k: v for k, v in facts.FILES.items() if ".toml" in k}))
            ),
            Section(
                "DESCRIPTION",
                (
                    "A TOML file with one table `[profiles.`*NAME*`]` for each library; "
                    "`--config` names another file, `--profile` the table. Where there is one "
                    "table only, it need not be named. `backlotfs config init` asks for what is "
                    "needed, tries it and writes the file.",
                    "The file, and a file that `api_secret_file` names, must be readable by you "
                    "alone (`chmod 600`), and nobody else may be able to replace it.",
                    "An option stands above the environment, the environment above the profile.",
                ),
            ),
            Section("KEYS", tuple(profile_keys())),
            Section("EXAMPLES", tuple(CONFIG)),
            Section("SEE ALSO", ("backlotfs(1), mount.backlotfs(8), systemd.exec(5)",)),
        ),
    )


def _mount8() -> Page:
    command = command_of(helper, ("mount.backlotfs",))
    source = (
        "`backlot:`*PROFILE* names a profile of `/etc/backlotfs/config.toml` if root mounts and "
        "there is one, else of the user's own file; `backlot:` is the only one there is. `df` and "
        "`findmnt` show these words as they are, and by them `mount -a` knows what is mounted."
    )
    return Page(
        "mount.backlotfs",
        8,
        "mount a Backlot video library by mount(8) and fstab",
        (
            Section(
                "SYNOPSIS",
                (
                    Code(
                        "mount -t backlotfs [-fnsv] [-o OPTIONS] backlot:PROFILE MOUNTPOINT\n"
                        "mount.backlotfs backlot:PROFILE MOUNTPOINT [-fnsv] [-o OPTIONS]"
                    ),
                ),
            ),
            Section(
                "DESCRIPTION",
                (
                    "mount(8) runs this program for the types `backlotfs` and `fuse.backlotfs`. "
                    "It is silent when all went well, and returns once the mount answers.",
                    source,
                ),
            ),
            Section("OPTIONS", command.options),
            Section("MOUNT OPTIONS", parts=tuple(mount_options())),
            Section("EXIT STATUS", tuple(exit_codes(facts.HELPER_EXIT_CODES))),
            Section("FILES", tuple(named(facts.FILES))),
            Section("EXAMPLES", (*MOUNT8, *FSTAB)),
            Section(
                "SEE ALSO",
                ("backlotfs(1), backlotfs.toml(5), mount(8), fstab(5), systemd.mount(5)",),
            ),
        ),
    )
