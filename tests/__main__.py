# SPDX-License-Identifier: Apache-2.0
"""The one command: ``python -m tests [--fast|--lint|--long|--desktop] [--fix] [-- FOR PYTEST]``.

Format, lint, types, tests: in this order, and the first that fails ends it with the command that
fixes it or shows more. ``--long`` runs what these leave out because it takes long, and measures the
branch coverage of the tests that do not mount.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.long_runs import LONG_RUNS

ROOT = Path(__file__).resolve().parent.parent

# What runs only in a mounted process is not measured, so the total has room for the kernel adapter;
# the packages that decide which bytes are right have none.
TOTAL_COVERAGE_PERCENT = 85
CORE_COVERAGE_PERCENT = 95
CORE_MODULES = (
    "backlotfs/open_files/*",
    "backlotfs/prefetch/*",
    "backlotfs/fetch/*",
    "backlotfs/cache/*",
    "backlotfs/source/*",
    "backlotfs/http/*",
    "backlotfs/api/*",
    "backlotfs/errors.py",
)

# Named in pytest's norecursedirs, so that no other run collects it.
DESKTOP_TESTS = "tests/desktop"
#: A file stays on one worker, as its tests share mounts; in the order that `tests.conftest` gives.
SIDE_BY_SIDE = ("--dist=loadfile", "--no-loadscope-reorder")
#: It doubles the processor time of the tests that compute, so `make test` goes without.
WITH_COVERAGE = ("--cov=backlotfs", "--cov-branch", "--cov-report=")
NOT_LONG, NOT_MOUNTED = ("-m", "not long"), ("-m", "not mounted and not long")
LONG_NOT_MOUNTED, LONG_MOUNTED = ("-m", "not mounted"), ("-m", "mounted and long")

#: A file system in memory, and what of it has to be free: the tests take 1 GiB.
IN_MEMORY = "/dev/shm"
ROOM_BYTES = 4 << 30

#: The tests start the program a thousand times. Without its bytecode each start compiles it, 0.3 s.
BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that has to hold.

    Attributes:
        name: what it looks at, for the reader of the output.
        module: the tool, run as ``python -m``, so that it is the one of this environment.
        arguments: what the tool is given.
        remedy: what to run, or do, when it fails.
        environment: more variables for the tool.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    remedy: str
    environment: dict[str, str] = field(default_factory=dict)

    def run(self) -> bool:
        """Run it from the root of the checkout, its output passing through; whether it passed."""
        print(f"── {self.name}: {shlex.join((self.module, *self.arguments))}", flush=True)
        started_s = time.monotonic()
        command = [sys.executable, "-m", self.module, *self.arguments]
        environment = os.environ | temporary_folder() | BYTECODE | self.environment
        passed = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
        verdict = "passed" if passed else "FAILED"
        print(f"   {self.name} {verdict} in {time.monotonic() - started_s:.1f} s", flush=True)
        return passed


def temporary_folder() -> dict[str, str]:
    """TMPDIR in memory, where there is room: catalogs wait for the disk at each change."""
    if "TMPDIR" in os.environ:
        return {}
    try:
        system = os.statvfs(IN_MEMORY)
    except OSError:
        return {}
    has_room = system.f_bavail * system.f_frsize >= ROOM_BYTES
    return {"TMPDIR": IN_MEMORY} if has_room and not system.f_flag & os.ST_NOEXEC else {}


def lint_steps(*, fix: bool) -> list[Step]:
    """Format, lint and types; with ``fix`` the first two mend what they can."""
    remedy = "python -m tests --lint --fix"
    return [
        Step("format", "ruff", ("format",) if fix else ("format", "--check"), remedy),
        Step("lint", "ruff", ("check", "--fix") if fix else ("check",), remedy),
        Step("types", "mypy", (), "python -m mypy FILE shows one file alone"),
    ]


def suite_steps(pytest_arguments: Sequence[str], *, fast: bool) -> list[Step]:
    """The tests: all of them by several workers.

    Chosen ones are run one after another in one process, as a debugger wants it.
    """
    if pytest_arguments:
        chosen = (*(NOT_MOUNTED if fast else ()), *pytest_arguments)
    else:
        kind = NOT_MOUNTED if fast else NOT_LONG
        chosen = (*kind, *SIDE_BY_SIDE, f"--numprocesses={workers()}")
    return [
        Step(
            "tests",
            "pytest",
            chosen,
            "python -m tests -- --last-failed -x shows the first failure alone",
        )
    ]


def long_steps() -> list[Step]:
    """The long tests, and the branch coverage of those that do not mount with its gates."""
    remedy = "python -m coverage html; then see htmlcov/index.html for the lines no test reaches"
    report = ("report", "--skip-covered", "--skip-empty", "--show-missing")
    return [
        Step(
            "tests under coverage",
            "pytest",
            (*LONG_NOT_MOUNTED, *WITH_COVERAGE, *SIDE_BY_SIDE, f"--numprocesses={workers()}"),
            "make test shows whether they fail without coverage too",
            {LONG_RUNS: "1"},
        ),
        Step(
            "long tests that mount",
            "pytest",
            (*LONG_MOUNTED, *SIDE_BY_SIDE, f"--numprocesses={workers()}"),
            "python -m tests -- --last-failed -x shows the first failure alone",
            {LONG_RUNS: "1"},
        ),
        Step("coverage", "coverage", (*report, f"--fail-under={TOTAL_COVERAGE_PERCENT}"), remedy),
        Step(
            "coverage of the core",
            "coverage",
            (
                *report,
                f"--fail-under={CORE_COVERAGE_PERCENT}",
                f"--include={','.join(CORE_MODULES)}",
            ),
            remedy,
        ),
    ]


def workers() -> int:
    """How many files of tests are run at a time: two a core, since many tests wait.

    No more than four: the tests have deadlines, and most of them start processes of their own.
    """
    return min(4, 2 * len(os.sched_getaffinity(0)))


def desktop_steps(pytest_arguments: Sequence[str]) -> list[Step]:
    """The tests with programs that need a screen or a server; pytest goes there only when told."""
    return [
        Step(
            "desktop",
            "pytest",
            (DESKTOP_TESTS, *pytest_arguments),
            "make test-desktop ARGS='--last-failed -x' shows the first failure alone",
        )
    ]


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and what follows ``--``, which is pytest's."""
    ours = list(arguments)
    pytest_arguments: list[str] = []
    if "--" in ours:
        split = ours.index("--")
        ours, pytest_arguments = ours[:split], ours[split + 1 :]
    parser = argparse.ArgumentParser(
        prog="python -m tests",
        description=(__doc__ or "").partition("\n\n")[2],
        usage="%(prog)s [--fast | --lint | --long | --desktop] [--fix] [-- PYTEST ARGUMENTS]",
    )
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--fast", action="store_true", help="leave out the tests that mount")
    scope.add_argument("--lint", action="store_true", help="run no tests at all")
    scope.add_argument("--long", action="store_true", help="the long tests, and coverage")
    scope.add_argument("--desktop", action="store_true", help="only what needs screen or server")
    parser.add_argument("--fix", action="store_true", help="let ruff mend what it can")
    return parser.parse_args(ours), pytest_arguments


def main(arguments: Sequence[str]) -> int:
    """Run the steps; 0 when all passed, 1 at the first that did not."""
    options, pytest_arguments = parse(arguments)
    steps = lint_steps(fix=options.fix)
    if options.desktop:
        steps = desktop_steps(pytest_arguments)
    elif options.long:
        steps = long_steps()
    elif not options.lint:
        steps += suite_steps(pytest_arguments, fast=options.fast)
    started_s = time.monotonic()
    for step in steps:
        if not step.run():
            print(f"To fix: {step.remedy}", file=sys.stderr)
            return 1
    print(f"All passed in {time.monotonic() - started_s:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
