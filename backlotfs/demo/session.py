"""From nothing to a mounted sample library and back to nothing, however it ends."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from pathlib import Path

from backlotfs.demo.background_mount import BackgroundMount, MountFailed, write_profile
from backlotfs.demo.interruption import Interruption, Stopped
from backlotfs.demo.media import make_media
from backlotfs.demo.narration import Narrator, megabytes
from backlotfs.demo.sample_library import build_library
from backlotfs.demo.tour import Tour
from backlotfs.demo.verification import CheckFailed
from backlotfs.demo.workspace import Workspace, mounted_at_or_below
from backlotfs.emulator import Emulator, EmulatorSettings
from backlotfs.errors import FuseUnusable

# Short enough for several deaths within a tour, as long as the tightest setting in the field.
_URL_LIFETIME_S = 2.0


class Session:
    """One run of the demo. Main thread only."""

    def __init__(self, mountpoint: Path | None) -> None:
        """``mountpoint`` is an empty or a new folder; None takes one in the temporary folder."""
        self._mountpoint = mountpoint
        self._narrator = Narrator()
        self._interruption = Interruption()
        self._left_behind = False

    def run(self) -> int:
        """The whole of it; the exit status.

        0 when all was as it has to be, 1 when a check failed or something was left behind, the
        status of ``mount`` when that failed, 128 + the signal when one ended it.

        :raises FuseUnusable: when the mountpoint cannot be one.
        """
        status = 0
        with self._interruption:
            try:
                with ExitStack() as stack:
                    try:
                        self._run(stack)
                    finally:
                        self._interruption.hold_for_good()
            except Stopped:
                self._narrator.say("Stopped.")
            except CheckFailed as failure:
                self._narrator.complain(f"a check failed: {failure}")
                status = 1
            except MountFailed as failure:
                self._narrator.complain(str(failure))
                status = failure.status
            except OSError as failure:
                self._narrator.complain(f"the demo could not go on: {failure}")
                status = 1
        if self._left_behind:
            return 1
        return self._interruption.exit_code or status

    def _run(self, stack: ExitStack) -> None:
        with self._interruption.hold():
            workspace = Workspace()
            stack.callback(self._remove, workspace)
        mountpoint = self._prepare_mountpoint(workspace, stack)

        self._narrator.step("Sample media")
        media = make_media(workspace.folder("media"), self._interruption)
        sample = build_library(media)
        total_bytes = sum(path.stat().st_size for path in media.paths)
        maker = "by ffmpeg and by hand" if media.made_by_ffmpeg else "by hand (no ffmpeg here)"
        self._narrator.say(f"{len(media.paths)} playable files, {megabytes(total_bytes)}, {maker}.")

        self._narrator.step("A Backlot-compatible server for them, in this process")
        with self._interruption.hold():
            settings = EmulatorSettings(url_lifetime_s=_URL_LIFETIME_S, cdn=False)
            emulator = stack.enter_context(Emulator(sample.library, settings))
        self._narrator.say(
            f"{emulator.api_url}; its signed URLs live {_URL_LIFETIME_S:g} s. "
            "The same over a folder of yours:"
        )
        self._narrator.typed(f"backlotfs emulator --media DIR --url-lifetime {_URL_LIFETIME_S:g}s")

        self._narrator.step("The mount")
        files = workspace.folder("mount-files")
        write_profile(
            files / "config.toml",
            api_url=emulator.api_url,
            api_key=emulator.api_key,
            api_secret=emulator.api_secret,
        )
        mount = BackgroundMount(mountpoint, files, self._narrator, self._interruption)
        stack.callback(mount.stop)
        mount.start()

        Tour(
            mountpoint=mountpoint,
            copies=workspace.folder("copies"),
            sample=sample,
            emulator=emulator,
            url_lifetime_s=_URL_LIFETIME_S,
            narrator=self._narrator,
            interruption=self._interruption,
        ).walk()

        if sys.stdin.isatty() and sys.stdout.isatty():
            self._narrator.step("Yours to look around")
            self._narrator.say(f"The mount is at {mountpoint}; press Enter to end it.")
            sys.stdin.readline()
        self._narrator.step("The end")

    def _prepare_mountpoint(self, workspace: Workspace, stack: ExitStack) -> Path:
        if self._mountpoint is None:
            return workspace.folder("library")
        mountpoint = self._mountpoint.absolute()
        if mounted_at_or_below(mountpoint):
            raise FuseUnusable(f"{mountpoint} is mounted already: backlotfs umount {mountpoint}")
        with self._interruption.hold():
            try:
                mountpoint.mkdir()
                stack.callback(self._remove_mountpoint, mountpoint)
            except FileExistsError:
                pass
            except OSError as error:
                raise FuseUnusable(f"{mountpoint} cannot be made: {error.strerror}") from error
        mountpoint = mountpoint.resolve()
        if not mountpoint.is_dir() or any(mountpoint.iterdir()):
            raise FuseUnusable(f"{mountpoint} is not an empty folder: name an empty or a new one")
        return mountpoint

    @staticmethod
    def _remove_mountpoint(mountpoint: Path) -> None:
        # rmdir takes nothing but an empty folder, and refuses a live mount
        with suppress(OSError):
            mountpoint.rmdir()

    def _remove(self, workspace: Workspace) -> None:
        reason = workspace.remove()
        if reason is not None:
            self._left_behind = True
            self._narrator.complain(reason)
        else:
            self._narrator.say("Nothing is mounted any more, and the temporary files are gone.")
