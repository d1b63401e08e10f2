# SPDX-License-Identifier: Apache-2.0
"""``rclone serve s3``, which checks signatures; and a proxy that fails one call in twenty."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, web
from yarl import URL

from tests.cluster.dask_cluster import free_port
from tests.support.deadlines import wait_until

KEY, SECRET = "AKIDOFTHETEST", "secret-of-the-test"
_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InternalError</Code>'
    "<Message>We encountered an internal error. Please try again.</Message></Error>"
)
#: Headers of one connection, not of the message.
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})


class S3Server:
    """The folder ``folder`` as buckets. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def environ(self, url: str | None = None, secret: str = SECRET) -> dict[str, str]:
        """What a client needs."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def uploads(self, bucket: str) -> list[str]:
        """The ids of the uploads in parts that are neither complete nor aborted."""
        from botocore.session import get_session  # make test has it not, and collects this module

        client = get_session().create_client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        try:
            found = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        except client.exceptions.NoSuchUpload:  # rclone says it of a bucket that never had one
            return []
        return [str(one["UploadId"]) for one in found]

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        program = Path(sys.executable).with_name("rclone")  # Debian's does not serve S3
        self._server = subprocess.Popen(
            [str(program), "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr",
             f"127.0.0.1:{self._port}", "--config", "/dev/null", str(self._folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(self._answers, "rclone serves S3")
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return False

    def __exit__(self, *_failure: object) -> None:
        """End it."""
        self._server.kill()
        self._server.wait()


class FailingProxy:
    """Passes calls on, except each twentieth: in turn a 500, a connection cut, half a body.

    :ivar calls: how many there were. :ivar failed: how many of them failed.
    """

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self.calls = self.failed = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result(30)
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_failure: object) -> None:
        """Answer no more."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _begin(self) -> int:
        self._session = ClientSession(
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None),
        )
        server = web.Application(client_max_size=2**40)
        server.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(server, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def _end(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        fails = self.calls % 20 == 0
        way = self.calls // 20 % 3
        self.failed += fails  # also if its worker is killed before the body has come
        body = await request.read()
        if fails:
            if way == 0:
                return web.Response(status=500, text=_ERROR, content_type="application/xml")
            if way == 1 and request.transport is not None:
                request.transport.abort()
                raise web.HTTPInternalServerError
        headers = {name: text for name, text in request.headers.items() if name.lower() not in _HOP}
        target = URL(f"{self._behind}{request.raw_path}", encoded=True)
        sent = io.BytesIO(body) if body else None
        async with self._session.request(
            request.method, target, headers=headers, data=sent, allow_redirects=False
        ) as answer:
            data = await answer.read()
            passed = [
                (name, text) for name, text in answer.headers.items() if name.lower() not in _HOP
            ]
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            response.headers.extend(passed)
            await response.prepare(request)
            if fails and len(data) > 1 and request.transport is not None:
                await response.write(data[: len(data) // 2])
                request.transport.abort()
                return response
            if request.method != "HEAD":
                await response.write(data)
            await response.write_eof()
            return response
