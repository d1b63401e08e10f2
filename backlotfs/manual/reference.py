"""The reference of ``docs/``: the same facts as in the manual pages, as pages of the site."""

from __future__ import annotations

from backlotfs.manual import facts, markdown
from backlotfs.manual.blocks import Section
from backlotfs.manual.commands import all_commands
from backlotfs.manual.details import VALUES
from backlotfs.manual.examples import CONFIG
from backlotfs.manual.pages import exit_codes, json_keys, mount_options, named, profile_keys


def reference() -> dict[str, str]:
    """File name to Markdown."""
    return {
        "commands.md": markdown.rendered(
            "Commands and options",
            "`--help` after any command, and `man backlotfs`, say the same.",
            [
                Section("Values", tuple(named(VALUES))),
                *(
                    Section(
                        command.name,
                        (f"`{command.name} {command.usage}`", *command.text, *command.options),
                    )
                    for command in all_commands()
                ),
            ],
        ),
        "mount-options.md": markdown.rendered(
            "Mount options",
            "After `-o`, in fstab and in the profile's `options`; `man mount.backlotfs` says the "
            "same. [mount(8), fstab, systemd](../mounting.md) shows them at work.",
            mount_options(),
        ),
        "configuration.md": markdown.rendered(
            "Profiles, environment, files",
            "An option stands above the environment, the environment above the profile. "
            "`man backlotfs.toml` says the same.",
            [
                Section("Keys of a profile", tuple(profile_keys())),
                Section("Example", CONFIG),
                Section("Environment", tuple(named(facts.ENVIRONMENT))),
                Section("Files", tuple(named(facts.FILES))),
            ],
        ),
        "errors.md": markdown.rendered(
            "Errors, exit codes, signals",
            "What each promise is worth, and the test of each, is in [Semantics](../semantics.md).",
            [
                Section("Errors of files", tuple(named(facts.ERRNOS))),
                Section("Exit codes of backlotfs", tuple(exit_codes())),
                Section(
                    "Exit codes of mount.backlotfs", tuple(exit_codes(facts.HELPER_EXIT_CODES))
                ),
                Section("Signals", tuple(named(facts.SIGNALS))),
            ],
        ),
        "attributes.md": markdown.rendered(
            "Extended attributes",
            "`getfattr -d FILE` shows what the library says of a file. Attributes without a "
            "value are left out.",
            [Section("Names", tuple(named(facts.XATTRS)))],
        ),
        "json.md": markdown.rendered(
            "JSON",
            "What `--json` prints: one object, `ls` one for each asset. `a.b` is `b` of the "
            "object `a`, `a[].b` that of each object of a list. Keys may be added; none changes "
            "its meaning.",
            [
                section
                for command in all_commands()
                for section in json_keys(command, f"{command.name} --json")
            ],
        ),
    }
