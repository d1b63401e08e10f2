# SPDX-License-Identifier: Apache-2.0
"""Threads that come with the work."""

from __future__ import annotations

import logging
import queue
import threading

import pytest

from backlotfs.concurrency import workers as workers_module
from backlotfs.concurrency.workers import Workers
from tests.fakes.workers import PATIENCE_S


def test_threads_are_daemons_and_at_most_the_limit() -> None:
    """Two threads for ten jobs that wait, named after the pool; all ten are done in the end."""
    pool = Workers(2, "pair")
    gate, lock = threading.Event(), threading.Lock()
    running = threading.Semaphore(0)
    finished = threading.Semaphore(0)
    seen: set[threading.Thread] = set()

    def job() -> None:
        with lock:
            seen.add(threading.current_thread())
        running.release()
        assert gate.wait(PATIENCE_S)
        finished.release()

    for _ in range(10):
        pool.submit(job)
    for _ in range(2):
        assert running.acquire(timeout=PATIENCE_S)
    with lock:
        assert {thread.name for thread in seen} == {"pair-1", "pair-2"}
        assert all(thread.daemon for thread in seen)
    gate.set()
    for _ in range(10):
        assert finished.acquire(timeout=PATIENCE_S)
    with lock:
        assert len(seen) == 2


def test_a_failing_job_is_logged_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    """The thread that ran it takes the next job."""
    pool = Workers(1, "solo")
    done = threading.Event()

    def fail() -> None:
        raise ValueError("boom")

    with caplog.at_level(logging.ERROR):
        pool.submit(fail)
        pool.submit(done.set)
        assert done.wait(PATIENCE_S)
    assert "a job of solo failed unexpectedly" in caplog.text


def test_an_idle_thread_is_used_again() -> None:
    """A second job, after the first is done, starts no second thread."""
    pool = Workers(8, "again")
    names: list[str] = []
    for _ in range(3):
        done = threading.Event()

        def job(done: threading.Event = done) -> None:
            names.append(threading.current_thread().name)
            done.set()

        pool.submit(job)
        assert done.wait(PATIENCE_S)
        # The thread has run the job; it is idle once it holds the condition again.
        while not pool._idle:
            pass
    assert names == ["again-1"] * 3


def test_an_idle_thread_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to do for `IDLE_S`: the thread goes, and comes back with the next job."""
    monkeypatch.setattr(workers_module, "IDLE_S", 0.0)
    pool = Workers(1, "brief")
    threads: list[threading.Thread] = []
    for _ in range(2):
        done = threading.Event()

        def job(done: threading.Event = done) -> None:
            threads.append(threading.current_thread())
            done.set()

        pool.submit(job)
        assert done.wait(PATIENCE_S)
        threads[-1].join(PATIENCE_S)
    assert [thread.name for thread in threads] == ["brief-1", "brief-2"]


def test_the_thread_of_a_job_takes_the_next() -> None:
    """A job submits another as its last step: it runs on the same thread, and no other is woken."""
    pool = Workers(2, "one")
    done: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()

    def last() -> None:
        done.put(threading.current_thread())

    def first() -> None:
        done.put(threading.current_thread())
        pool.submit(last, next_here=True)

    pool.submit(first)
    assert done.get(timeout=PATIENCE_S) is done.get(timeout=PATIENCE_S)
