"""The source host of the benchmarks: nginx over a folder, addressed as signed URLs address it.

The API is the emulator's, told to sign URLs that point here; nginx does not check signatures.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

_CONFIGURATION = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 1000000;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {folder}/keys; }}
    location /plain/ {{ alias {media}/; autoindex on; }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, media: Path, port: int) -> Iterator[str]:
    """Serve ``media`` twice: plainly under ``/plain/``, and by key once `publish` has linked it."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        raise SystemExit("nginx is missing; install it: apt-get install nginx-light")
    (folder / "keys").mkdir()
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, media=media, port=port))
    process = subprocess.Popen([program, "-c", str(configuration), "-p", str(folder)])
    base = f"http://127.0.0.1:{port}"
    try:
        _wait_for(base + "/plain/")
        yield base
    finally:
        process.terminate()
        process.wait(10)


def publish(folder: Path, embed_code: str, media_file: Path) -> None:
    """Link a file under its bucket key, ``<embed code>/<first>-<last byte>``."""
    key = folder / "keys" / embed_code / f"{0:013d}-{media_file.stat().st_size - 1:013d}"
    key.parent.mkdir(exist_ok=True)
    key.symlink_to(media_file)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
