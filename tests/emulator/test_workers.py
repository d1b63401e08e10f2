# SPDX-License-Identifier: Apache-2.0
"""Worker threads: results, errors, callers that are cancelled, and the bound on what waits."""

from __future__ import annotations

import asyncio
import io
import threading

import pytest

from backlotfs.emulator.workers import TooManyWaiting, WorkerPool


def test_results_and_errors() -> None:
    """What the function returns or raises, the caller gets."""

    async def main() -> None:
        pool = WorkerPool("test", threads=2, most_waiting=5)
        assert await pool.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await pool.run(divmod, 7, 0)
        pool.stop()

    asyncio.run(main())


def test_a_cancelled_caller_leaves_nothing_open() -> None:
    """What the function opens meanwhile is closed; a call that has not begun never runs."""
    began, go_on = threading.Event(), threading.Event()
    file = io.BytesIO()
    ran: list[int] = []

    def opened_late() -> io.BytesIO:
        began.set()
        go_on.wait(30)
        return file

    async def main() -> None:
        pool = WorkerPool("test", threads=1, most_waiting=5)
        running = asyncio.create_task(pool.run(opened_late))
        waiting = asyncio.create_task(pool.run(ran.append, 1))
        await asyncio.to_thread(began.wait, 30)
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        assert not file.closed
        go_on.set()
        assert await pool.run(lambda: "next") == "next"
        assert file.closed
        assert ran == []
        pool.stop()

    asyncio.run(main())


def test_no_more_may_wait_than_was_said() -> None:
    """One call runs, two wait, the next is refused at once."""
    go_on = threading.Event()

    async def main() -> None:
        pool = WorkerPool("test", threads=1, most_waiting=2)
        began = threading.Event()

        def wait() -> bool:
            began.set()
            return go_on.wait(30)

        calls = [asyncio.create_task(pool.run(wait))]
        await asyncio.to_thread(began.wait, 30)
        calls += [asyncio.create_task(pool.run(go_on.wait, 30)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyWaiting):
            await pool.run(wait)
        go_on.set()
        assert await asyncio.gather(*calls) == [True, True, True]
        pool.stop()

    asyncio.run(main())
