# SPDX-License-Identifier: Apache-2.0
"""Sends tasks to the workers of a Dask cluster.

If the connection to the scheduler is lost, each task is sent again, because Dask has forgotten it.
If a worker is lost, Dask gives its tasks to other workers. If several workers are lost while they
run the same task, Dask ends this task with an error.

Before the first task, all workers are asked for their versions of backlotfs and of Python, and
whether they can write to DEST. A worker that joins later is asked within seconds. If it cannot be
used, it is retired, and tasks that failed there are tried again.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import logging
import platform
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker
from typing import Any, Self, TypeVar

import requests
from urllib3.exceptions import HTTPError

from backlotfs import __version__
from backlotfs.cluster.tasks import Checks
from backlotfs.cluster.worker import destination_problem, topic_of
from backlotfs.errors import BacklotError, Interrupted, SettingsError
from backlotfs.log.terminal import counted

with contextlib.suppress(ImportError):  # the command says what to install
    import dask
    import distributed
    from distributed.comm.core import CommClosedError

T = TypeVar("T")
A = TypeVar("A")

#: Longest wait for the scheduler at the beginning, and after the connection to it was lost.
CONNECT_S, CONNECT_AGAIN_S = 20.0, 600.0
#: Longest wait for the first worker.
FIRST_WORKER_S = 60.0
#: Longest wait for the page of the dashboard.
DASHBOARD_S = 3.0
#: How many bytes of a page are read.
PAGE_HEAD_BYTES = 4096
#: Time between two questions for the list of workers.
LOOK_EVERY_S = 2.0
#: Pause before a task that the scheduler has lost is sent again.
LOST_PAUSE_S = 0.5
#: The most unfinished tasks for each thread of the workers, and for all together. More tasks would
#: only wait, and their URLs, which are resolved before a task is sent, would be older.
TASKS_PER_THREAD, MOST_TASKS = 2, 1024

#: By default Dask samples the threads of a worker 100 times a second and its event loop 50 times a
#: second. This took a fifth of the processor time of a copy. For other clusters
#: docs/how-to/cluster.md recommends the same settings.
_WITHOUT_SAMPLING = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
}


class WorkersLost(BacklotError):
    """Several workers ended unexpectedly, one after the other, while they ran the same task."""


class TaskBroken(BacklotError):
    """A worker could not begin a task: it joined late, with no backlotfs or another version."""


class SchedulerLost(BacklotError):
    """The scheduler cannot be reached any more."""

    exit_code = 4


class Pool:
    """The workers of one cluster. Any thread may call `run`; call `close` at the end.

    :ivar threads: the number of threads of all usable workers, at the last check.
    """

    def __init__(
        self,
        client: distributed.Client,
        cluster: distributed.LocalCluster | None,
        stop: threading.Event,
    ) -> None:
        """Use `connect` or `start` instead. :param stop: if it is set, end all waits."""
        self._client = client
        self._cluster = cluster
        self._stop = stop
        self._say: Callable[[str], None] = lambda _line: None
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._reached: dict[int, Callable[[int], None]] = {}
        self._connecting = threading.Lock()
        self._checks: Checks | None = None
        self._known: set[str] = set()
        self.threads = 0
        self._under_way = 0
        self._freed = threading.Condition()
        self._watch = threading.Thread(target=self._keep_looking, name="workers", daemon=True)

    @classmethod
    def connect(cls, address: str, stop: threading.Event) -> Self:
        """Connect to a scheduler. :raises SettingsError: there is none at this address."""
        return cls(_client(address, CONNECT_S), None, stop)

    @classmethod
    def start(cls, workers: int, threads: int, stop: threading.Event) -> Self:
        """Start workers on this machine; `close` ends them.

        SIGINT stays blocked in the calling thread.

        :param workers: the number of processes. :param threads: the number of threads of each.
        """
        # The command reports each failure itself, and workers that end may log late heartbeats.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        # Workers inherit a blocked SIGINT: Ctrl-C ends the command, which ends them. The tracker is
        # started before, because its start unblocks the signal.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        preload = {"distributed.worker.preload": ["backlotfs.cluster.worker"]}
        with dask.config.set(_WITHOUT_SAMPLING | preload):
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=threads,
                processes=True,
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},  # its import would delay the start
                security=True,  # TLS: whoever reaches a scheduler can run programs as this user
                silence_logs=logging.CRITICAL,
            )
            return cls(distributed.Client(cluster), cluster, stop)

    def close(self) -> None:
        """Give up unfinished tasks, and end the workers that `start` started."""
        with contextlib.suppress(Exception):
            self._client.close()
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._cluster.close()

    def dashboard(self) -> str | None:
        """The address of Dask's dashboard; None: this machine gets no page there.

        A scheduler always has such an address, even if bokeh is not installed.
        """
        if self._cluster is not None:
            return None
        try:
            address: str | None = self._client.dashboard_link
        except (KeyError, ValueError):  # there is no port, or Dask's setting of the link is invalid
            return None
        return address if address and _has_page(address) else None

    @property
    def window(self) -> int:
        """The most unfinished tasks at the same time."""
        return max(4, min(MOST_TASKS, TASKS_PER_THREAD * self.threads))

    def check(self, checks: Checks, say: Callable[[str], None]) -> None:
        """Ask all workers whether they can be used, and later also the workers that join.

        :param say: called with a line for the user, also after this call has returned.
        :raises SettingsError: a worker cannot be used, or there is no worker.
        """
        self._checks, self._say = checks, say
        until_s = time.monotonic() + FIRST_WORKER_S
        while not (workers := self._workers()):
            if time.monotonic() > until_s or self._stop.wait(0.2):
                raise SettingsError(
                    f"the scheduler has no worker after {FIRST_WORKER_S:.0f} s; "
                    "start some: dask worker ADDRESS"
                )
        problems = self._problems(list(workers))
        if problems:
            address, problem = min(problems.items())
            more = (
                f" (and {counted(len(problems) - 1, 'more worker')})" if len(problems) > 1 else ""
            )
            raise SettingsError(f"worker {address} {problem}{more}")
        self._note(workers)
        self._watch.start()

    def run(
        self,
        kind: str,
        function: Callable[[A], T],
        argument: A,
        reached: Callable[[int], None] = lambda _bytes: None,
    ) -> T:
        """Run a function on a worker, and return its result.

        :param kind: the name of the task on Dask's dashboard.
        :param reached: called with all bytes that the task has copied so far, from another thread.
        :raises WorkersLost, TaskBroken, SchedulerLost: see these classes.
        :raises Interrupted: ``stop`` was set.
        """
        with self._place():
            while True:
                number = next(self._numbers)
                self._reached[number] = reached
                try:
                    return self._run_once((f"{kind}-{self._run}", number), function, argument)
                except distributed.KilledWorker:
                    raise WorkersLost(
                        "the workers that had it died, one after the other; "
                        "see their logs, and give them more memory or fewer threads"
                    ) from None
                except (
                    distributed.client.FutureCancelledError,
                    distributed.client.ClosedClientError,
                    CommClosedError,
                ):  # the connection was lost, so the scheduler has forgotten the task
                    reached(0)
                except BacklotError:
                    raise
                except Exception as error:  # noqa: BLE001  # the task could not even begin
                    raise TaskBroken(
                        f"a worker cannot run tasks of backlotfs ({type(error).__name__})"
                    ) from None
                finally:
                    del self._reached[number]
                self._go_on()
                self._stop.wait(LOST_PAUSE_S)

    def _run_once(self, key: tuple[str, int], function: Callable[[A], T], argument: A) -> T:
        future = self._connected().submit(function, argument, key=key, pure=False)
        ended = threading.Event()
        future.add_done_callback(lambda _future: ended.set())
        while not ended.wait(1.0):
            if self._stop.is_set():
                with contextlib.suppress(Exception):
                    future.cancel()
            self._go_on()
        result: T = future.result(timeout=CONNECT_S)
        return result

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Interrupted("stopped")

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """Wait until there are fewer unfinished tasks than `window`; count one within the block."""
        with self._freed:
            while self._under_way >= self.window:
                self._go_on()
                self._freed.wait(0.5)
            self._under_way += 1
        try:
            yield
        finally:
            with self._freed:
                self._under_way -= 1
                self._freed.notify()

    def _connected(self) -> distributed.Client:
        """The client; connects again after a lost connection. :raises SchedulerLost: it failed."""
        with self._connecting:
            if self._client.status in ("closed", "closing"):
                address = self._client.scheduler.address
                self._say(f"the scheduler at {address} is lost; trying again")
                until_s = time.monotonic() + CONNECT_AGAIN_S
                while True:
                    self._go_on()
                    try:
                        self._client = _client(address, CONNECT_S)
                        break
                    except SettingsError:
                        if time.monotonic() > until_s:
                            raise SchedulerLost(
                                f"the scheduler at {address} cannot be reached any more; "
                                "start it, then run the same command again to continue"
                            ) from None
                self._subscribe()
            return self._client

    def _subscribe(self) -> None:
        self._client.subscribe_topic(topic_of(f"-{self._run}"), self._on_event)

    def _on_event(self, event: tuple[float, tuple[int, int]]) -> None:
        number, reached_bytes = event[1]
        reached = self._reached.get(number)
        if reached is not None:
            reached(reached_bytes)

    def _workers(self) -> Mapping[str, Mapping[str, Any]]:
        """What the scheduler knows of each worker, by address."""
        found: Mapping[str, Mapping[str, Any]] = self._client.scheduler_info(n_workers=-1)[
            "workers"
        ]
        return found

    def _note(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        self._known = set(workers)
        self.threads = sum(int(facts["nthreads"]) for facts in workers.values())

    def _keep_looking(self) -> None:
        self._subscribe()
        missing = False
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                if self._client.status != "running":
                    continue
                workers = dict(self._workers())
                bad = self._problems([one for one in workers if one not in self._known])
                for address, problem in bad.items():
                    self._say(f"worker {address} {problem}; it gets no more tasks")
                    self._client.retire_workers([address])
                    del workers[address]
            except Exception:  # noqa: BLE001  # the connection was lost meanwhile
                continue
            if not workers and not missing:
                self._say("there is no worker any more; waiting for one")
            missing = not workers
            self._note(workers)

    def _problems(self, addresses: list[str]) -> dict[str, str]:
        """The problem of each of these workers that cannot be used, by address."""
        problems: dict[str, str] = {}

        def ask(function: Callable[..., Any], *arguments: object) -> dict[str, Any]:
            left = [one for one in addresses if one not in problems]
            if not left:
                return {}
            return dict(self._client.run(function, *arguments, workers=left, on_error="return"))

        for address, version in ask(importlib.metadata.version, "backlotfs").items():
            if isinstance(version, importlib.metadata.PackageNotFoundError):
                problems[address] = (
                    f"has no backlotfs; install there: pip install 'backlotfs[cluster]=={_ours()}'"
                )
            elif isinstance(version, BaseException):
                problems[address] = f"does not answer ({type(version).__name__})"
            elif version != _ours():
                problems[address] = (
                    f"has backlotfs {version}, and this machine {_ours()}; "
                    "install the same version on both"
                )
        for address, version in ask(platform.python_version).items():
            if _minor(str(version)) != _minor(platform.python_version()):
                problems[address] = (
                    f"has Python {version}, and this machine {platform.python_version()}; "
                    "use the same version on both"
                )
        if self._checks is not None:
            for address, problem in ask(destination_problem, self._checks).items():
                if isinstance(problem, BaseException):
                    problems[address] = f"cannot run backlotfs ({type(problem).__name__})"
                elif problem:
                    problems[address] = str(problem)
        return problems


def _client(address: str, timeout_s: float) -> distributed.Client:
    """:raises SettingsError: there is no scheduler at the address."""
    try:
        with _quiet():
            return distributed.Client(address, timeout=timeout_s)
    except TypeError:
        raise SettingsError(
            f"{address} needs certificates; set distributed.comm.tls in the configuration of Dask"
        ) from None
    except ValueError:
        raise SettingsError(
            f"{address!r} is no address of a scheduler; write it like tcp://HOST:8786"
        ) from None
    except RuntimeError:
        if not dask.config.get("distributed.comm.require-encryption"):
            raise
        raise SettingsError(
            f"Dask is configured to require encryption, which {address} has not; "
            "write it like tls://HOST:8786"
        ) from None
    except OSError:
        if address.startswith("tls:"):
            raise SettingsError(
                f"no scheduler at {address} takes the certificates of this machine; start one, "
                "or compare distributed.comm.tls in the configuration of Dask on both"
            ) from None
        raise SettingsError(
            f"no scheduler answers at {address}; start one: dask scheduler"
        ) from None


def _has_page(address: str) -> bool:
    """Whether there is an HTML page. Without bokeh, Dask serves only a few lines of text."""
    with requests.Session() as session:
        session.trust_env = False  # as for all requests, ignore the proxies of the environment
        try:
            with session.get(address, timeout=DASHBOARD_S, stream=True) as answer:
                return answer.ok and b"<html" in answer.raw.read(PAGE_HEAD_BYTES).lower()
        except (requests.RequestException, HTTPError):
            return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Dask's warnings about versions that differ: `Pool.check` has a line for them."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _ours() -> str:
    try:
        return importlib.metadata.version("backlotfs")
    except importlib.metadata.PackageNotFoundError:
        return __version__


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
