# SPDX-License-Identifier: Apache-2.0
"""Mounts the sample library, runs the tour, and removes everything at the end, in every case."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from backlotfs.demo.sample_library import build_library, make_media
from backlotfs.demo.terminal import (
    BACKLOTFS,
    Interruption,
    Narrator,
    Stopped,
    megabytes,
    run,
    start,
)
from backlotfs.demo.tour import CheckFailed, Tour
from backlotfs.emulator import Emulator, EmulatorSettings
from backlotfs.errors import FuseUnusable
from backlotfs.kernel.mount_table import mount_at, mounts
from backlotfs.kernel.mounting import check_usable

# Short enough that URLs expire several times within a tour; real accounts have longer lifetimes.
_URL_LIFETIME_S = 2.0
_START_S = 30.0
_UNMOUNT_S = 20.0
_GONE_S = 5.0
_POLL_S = 0.05
_LOG_LINES = 15
# A daemon that has just been unmounted may still write its last log line.
_REMOVAL_TRIES = 20
_REMOVAL_PAUSE_S = 0.1


class Session:
    """One run of the demo. Main thread only."""

    def __init__(self, mountpoint: Path | None) -> None:
        """:param mountpoint: an empty or a new folder; None takes one in the temporary folder."""
        self._mountpoint = mountpoint
        self._narrator = Narrator()
        self._interruption = Interruption()
        self._left_behind = False

    def run(self) -> int:
        """Run the whole demo and return its exit status.

        0: all checks passed. 1: a check failed, or the temporary folder could not be removed. If
        ``mount`` failed: its status. If a signal ended the demo: 128 + its number.

        :raises FuseUnusable: FUSE cannot be used here, or not on the mountpoint.
        """
        status = 0
        check_usable()
        with self._interruption:
            try:
                with ExitStack() as stack:
                    try:
                        status = self._attempt(stack)
                    finally:
                        self._interruption.hold_for_good()
            except Stopped:
                self._narrator.say("Stopped.")
        if self._left_behind:
            return 1
        return self._interruption.exit_code or status

    def _attempt(self, stack: ExitStack) -> int:
        """Run, and return the exit status. Print the reason of a failure before the clean-up."""
        try:
            self._run(stack)
        except CheckFailed as failure:
            self._narrator.complain(f"a check failed: {failure}")
            return 1
        except MountFailed as failure:
            self._narrator.complain(str(failure))
            return failure.status
        except OSError as failure:
            self._narrator.complain(f"the demo could not go on: {failure}")
            return 1
        return 0

    def _run(self, stack: ExitStack) -> None:
        with self._interruption.hold():
            workspace = Path(tempfile.mkdtemp(prefix="backlotfs-demo-")).resolve()
            stack.callback(self._remove, workspace)
        mountpoint = self._prepare_mountpoint(workspace, stack)

        self._narrator.step("Sample media")
        self._narrator.say("Making films and sounds takes a few seconds.")
        media = make_media(_folder(workspace, "media"), self._interruption)
        sample = build_library(media)
        total_bytes = sum(path.stat().st_size for path in media)
        by_ffmpeg = ", the MP4 by ffmpeg" if media[1].suffix == ".mp4" else " (no ffmpeg here)"
        self._narrator.say(f"{len(media)} playable files, {megabytes(total_bytes)}{by_ffmpeg}.")

        self._narrator.step("A Backlot-compatible server for them, in this process")
        with self._interruption.hold():
            settings = EmulatorSettings(url_lifetime_s=_URL_LIFETIME_S, cdn=False)
            emulator = stack.enter_context(Emulator(sample.library, settings))
        self._narrator.say(
            f"{emulator.api_url}; its signed URLs live only {_URL_LIFETIME_S:g} s, so that many "
            "expire\nwhile you watch."
        )

        self._narrator.step("The mount")
        files = _folder(workspace, "mount-files")
        write_profile(files / "config.toml", emulator)
        mount = BackgroundMount(mountpoint, files, self._narrator, self._interruption)
        stack.callback(mount.stop)
        mount.start()

        Tour(
            mountpoint=mountpoint,
            copies=_folder(workspace, "copies"),
            sample=sample,
            emulator=emulator,
            url_lifetime_s=_URL_LIFETIME_S,
            narrator=self._narrator,
            interruption=self._interruption,
        ).walk()
        self.show_labels(workspace, stack, emulator)

        self._narrator.step("Three things to try")
        if shutil.which("backlotfs") is None:
            self._narrator.say("In a second terminal the program is found after:")
            self._narrator.typed(f'export PATH="{Path(sys.executable).parent}:$PATH"')
        self._narrator.say(
            "A folder of your own as a library; docs/tutorial.md goes on from there:"
        )
        self._narrator.typed("backlotfs emulator --media DIR --config-out library.toml")
        self._narrator.say("Your own library; it asks for address, key and secret:")
        self._narrator.typed("backlotfs config init")
        self._narrator.say("What this mount does right now, every second:")
        self._narrator.typed(f"backlotfs status --watch {shlex.quote(str(mountpoint))}")
        if sys.stdin.isatty() and sys.stdout.isatty():
            self._narrator.say(
                f"\nThe mount is at {mountpoint}; look around in a second terminal.\n"
                "Press Enter to end it."
            )
            sys.stdin.readline()
        self._narrator.step("The end")

    def show_labels(self, workspace: Path, stack: ExitStack, emulator: Emulator) -> None:
        """Mount the library a second time, with folders by labels."""
        self._narrator.step("The same library by labels, in a second mount")
        files = _folder(workspace, "labels-files")
        write_profile(files / "config.toml", emulator)
        folder = _folder(workspace, "labels")
        mount = BackgroundMount(folder, files, self._narrator, self._interruption, layout="labels")
        stack.callback(mount.stop)
        mount.start()
        command = ["find", str(folder), "-name", "*nterview*"]
        self._narrator.command(command)
        finished = run(command, self._interruption)
        if finished.status != 0 or "Festival/Interviews" not in finished.output:
            raise CheckFailed(f"the labels are not shown as folders:\n{finished.output}")
        self._narrator.say(finished.output)

    def _prepare_mountpoint(self, workspace: Path, stack: ExitStack) -> Path:
        if self._mountpoint is None:
            return _folder(workspace, "library")
        mountpoint = self._mountpoint.absolute()
        if mounted_at_or_below(mountpoint):
            raise FuseUnusable(f"{mountpoint} is mounted already: backlotfs umount {mountpoint}")
        with self._interruption.hold():
            try:
                mountpoint.mkdir()
                stack.callback(_remove_mountpoint, mountpoint)
            except FileExistsError:
                pass
            except OSError as error:
                raise FuseUnusable(f"{mountpoint} cannot be made: {error.strerror}") from error
        mountpoint = mountpoint.resolve()
        if not mountpoint.is_dir() or any(mountpoint.iterdir()):
            raise FuseUnusable(f"{mountpoint} is not an empty folder: name an empty or a new one")
        return mountpoint

    def _remove(self, workspace: Path) -> None:
        reason = remove(workspace)
        if reason is not None:
            self._left_behind = True
            self._narrator.complain(reason)
        else:
            self._narrator.say("Nothing is mounted any more, and the temporary files are gone.")


class MountFailed(Exception):
    """`backlotfs mount` failed; the message is its output.

    :ivar status: its exit status, which shows the cause (5: FUSE is not usable here).
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class BackgroundMount:
    """`backlotfs mount` and `backlotfs umount` as a user types them, with a cache of its own.

    :ivar mountpoint: absolute, without symlinks.
    """

    def __init__(
        self,
        mountpoint: Path,
        files: Path,
        narrator: Narrator,
        interruption: Interruption,
        *,
        layout: str | None = None,
    ) -> None:
        """:param files: a folder with ``config.toml``; the log and the cache are made there too."""
        self._options = ["--layout", layout] if layout is not None else []
        self.mountpoint = mountpoint
        self._files = files
        self._narrator = narrator
        self._interruption = interruption
        self._launcher: subprocess.Popen[bytes] | None = None

    @property
    def is_live(self) -> bool:
        """Whether the kernel has the mount."""
        return mount_at(self.mountpoint) is not None

    def start(self) -> None:
        """Mount, and return when the mount answers.

        :raises MountFailed: the library is not mounted.
        :raises Stopped: on a signal; call `stop` then too.
        """
        log = self._files / "mount.log"
        command = [
            *(*BACKLOTFS, "mount", "--config", str(self._files / "config.toml")),
            *("--profile", "demo", "--cache-dir", str(self._files / "cache")),
            *("--log-file", str(log), *self._options, str(self.mountpoint)),
        ]
        self._narrator.command(command)
        said = self._files / "mount.said"
        with said.open("wb") as output, self._interruption.hold():
            self._launcher = start(command, output.fileno())
        try:
            status = self._launcher.wait(_START_S)
        except subprocess.TimeoutExpired:
            raise MountFailed(f"mount is not ready after {_START_S:g} s", status=1) from None
        words = said.read_text("utf-8", "replace").strip().removeprefix("backlotfs: ")
        if status == 0 and self.is_live:
            self._narrator.say(words)
            return
        last_lines = ""
        with suppress(OSError):
            last_lines = "\n".join(log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:])
        raise MountFailed(words or last_lines or f"mount ended with {status}", status=status or 1)

    def stop(self) -> None:
        """Unmount in every state of the mount. Signals must be held. It never raises."""
        if self._launcher is None:
            return
        # wait first: if it were killed now, its daemon could mount after the check below
        try:
            self._launcher.wait(_START_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._launcher.pid, signal.SIGKILL)
            self._launcher.wait()
        where = str(self.mountpoint)
        if not self.is_live:
            return
        umount = [*BACKLOTFS, "umount", where]
        self._narrator.command(umount)
        reason = self._failure_of(umount)
        if reason is not None:
            self._narrator.complain(reason)
        elif self._is_gone():
            return
        for forced in (["fusermount3", "-u", "-z", where], ["umount", "--lazy", where]):
            if self._failure_of(forced) is None and self._is_gone():
                self._narrator.command(forced)
                self._narrator.say("That detached the mount all the same.")
                return

    def _failure_of(self, command: list[str]) -> str | None:
        try:
            finished = run(command, self._interruption, timeout_s=_UNMOUNT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if finished.status == 0:
            return None
        return finished.output.strip().removeprefix("backlotfs: ") or f"{command} failed"

    def _is_gone(self) -> bool:
        deadline_s = time.monotonic() + _GONE_S
        while self.is_live and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        return not self.is_live


def write_profile(path: Path, emulator: Emulator) -> None:
    """Write a configuration with the profile ``demo``, readable by its owner alone."""
    values = {
        "api_url": emulator.api_url,
        "api_key": emulator.api_key,
        "api_secret": emulator.api_secret,
    }
    # a JSON string of ASCII is a TOML string
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items()]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as config:
        config.write("[profiles.demo]\n" + "".join(lines))


def mounted_at_or_below(path: Path) -> list[Path]:
    """The mountpoints at or below ``path``, which is absolute and without symlinks.

    They are read from the kernel's table, because access to a broken mount would hang or fail.
    """
    mountpoints = (Path(entry.mountpoint) for entry in mounts())
    return [mountpoint for mountpoint in mountpoints if mountpoint.is_relative_to(path)]


def remove(workspace: Path) -> str | None:
    """Delete the temporary folder. Return None, or a sentence that says why it is still there.

    If there is still a mount in it, nothing is deleted: the demo never deletes through a mount.
    """
    alive = mounted_at_or_below(workspace)
    if alive:
        paths = " ".join(str(path) for path in alive)
        return (
            f"{paths} is still mounted, so {workspace} was not removed. "
            f"To end it: fusermount3 -u -z {paths}; rm -r {workspace}"
        )
    for _ in range(_REMOVAL_TRIES):
        # only root could delete the content of a folder without permissions
        for folder, _, _ in os.walk(workspace):
            with suppress(OSError):
                os.chmod(folder, 0o700)
        shutil.rmtree(workspace, ignore_errors=True)
        if not workspace.exists():
            return None
        time.sleep(_REMOVAL_PAUSE_S)
    return f"{workspace} could not be removed whole; to remove it: rm -r {workspace}"


def _folder(workspace: Path, name: str) -> Path:
    path = workspace / name
    path.mkdir()
    return path


def _remove_mountpoint(mountpoint: Path) -> None:
    # rmdir removes only an empty folder, and never a mountpoint
    with suppress(OSError):
        mountpoint.rmdir()
