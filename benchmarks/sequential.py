"""``cp`` of 1 GiB over loopback: backlotfs beside ``rclone mount``, alternating, by medians.

Run as root: ``python -m benchmarks.sequential [ROUNDS]``. The page cache is dropped before each
copy, then the origin's file is read once, so that the disk is nobody's handicap.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from backlotfs.emulator import Emulator, EmulatorSettings, Library
from benchmarks.mounts import MountProcess, backlotfs_command, mounted, rclone_command
from benchmarks.origin import nginx, publish
from benchmarks.report import spread, table, write_section

SIZE_BYTES = 1024**3
NGINX_PORT = 8991


def main(rounds: int) -> None:
    """Measure and write the section."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backlotfs-bench-")))
        folder.chmod(0o755)
        media = folder / "media"
        media.mkdir()
        _make_file(media / "big.bin")
        origin = stack.enter_context(nginx(folder, media, NGINX_PORT))
        library = Library.from_folder(media)
        for asset in library.ordered():
            publish(folder, asset.embed_code, media / "big.bin")
        emulator = stack.enter_context(Emulator(library, EmulatorSettings(source_base_url=origin)))
        config = folder / "config.toml"
        config.touch(0o600)
        config.write_text(
            f'[profiles.emulator]\napi_url = "{emulator.api_url}"\n'
            f'api_key = "{emulator.api_key}"\napi_secret = "{emulator.api_secret}"\n'
        )
        ours, theirs = folder / "ours", folder / "theirs"
        mounts = [
            stack.enter_context(
                mounted(
                    "backlotfs", backlotfs_command(config, ours, cache_dir=folder / "cache"), ours
                )
            ),
            stack.enter_context(
                mounted("rclone", rclone_command(origin + "/plain/", theirs), theirs)
            ),
        ]
        results: dict[str, list[tuple[float, float]]] = {mount.name: [] for mount in mounts}
        for _ in range(rounds):
            for mount in mounts:
                results[mount.name].append(_copy(mount, media, folder))
        _report(results, mounts)


def _make_file(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(SIZE_BYTES // 2**20):
            file.write(os.urandom(2**20))


def _copy(mount: MountProcess, media: Path, folder: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of one copy."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    subprocess.run(["cat", str(media / "big.bin")], stdout=subprocess.DEVNULL, check=True)
    target = Path("/dev/shm") / f"{folder.name}.copy"
    cpu, start = mount.cpu_s(), time.monotonic()
    subprocess.run(["cp", str(mount.mountpoint / "big.bin"), str(target)], check=True)
    took = time.monotonic() - start
    used = mount.cpu_s() - cpu
    subprocess.run(["cmp", str(media / "big.bin"), str(target)], check=True)
    target.unlink()
    return took, used


def _report(results: dict[str, list[tuple[float, float]]], mounts: list[MountProcess]) -> None:
    rows = []
    rates: dict[str, float] = {}
    for mount in mounts:
        speeds = [SIZE_BYTES / 1e6 / took for took, _ in results[mount.name]]
        cpu = statistics.median(used for _, used in results[mount.name]) / (SIZE_BYTES / 1e9)
        rates[mount.name] = statistics.median(speeds)
        memory = f"{mount.pss_bytes() / 1e6:.0f}"
        rows.append([mount.name, spread(speeds, 0), f"{cpu:.2f}", memory])
    head = ["mount", "MB/s, median (min-max)", "CPU s per GB", "PSS, MB"]
    rounds = len(results[mounts[0].name])
    write_section(
        "sequential",
        f"`cp` of 1 GiB from nginx on loopback, page cache dropped; {rounds} rounds.\n\n"
        f"{table(head, rows)}\n\n"
        f"backlotfs / rclone: {rates['backlotfs'] / rates['rclone']:.2f}",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
