# SPDX-License-Identifier: Apache-2.0
"""An emulator of Google's store, which checks no credentials."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import Self
from urllib.parse import quote

import requests

from tests.cluster.dask_cluster import free_port
from tests.support.deadlines import wait_until


class GcsServer:
    """One bucket, in memory. A context manager."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def environ(self) -> dict[str, str]:
        """What a client needs: the address, and nothing that asks for credentials."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # the emulator has no such buckets
            "NO_GCE_CHECK": "true",
        }

    def get(self, name: str) -> bytes:
        """The bytes of an object."""
        address = f"{self.url}/download/storage/v1/b/{self._bucket}/o/{quote(name, safe='')}"
        answer = requests.get(address, params={"alt": "media"}, timeout=60)
        answer.raise_for_status()
        return answer.content

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        place = ("--host", "127.0.0.1", "--port", str(self._port), "--in-memory")
        self._server = subprocess.Popen(
            [sys.executable, "-m", "gcp_storage_emulator", "start", *place,
             "--default-bucket", self._bucket],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        wait_until(self._answers, "the emulator has its bucket")
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/storage/v1/b/{self._bucket}", timeout=1).ok
        return False

    def __exit__(self, *_failure: object) -> None:
        """End it."""
        self._server.kill()
        self._server.wait()
