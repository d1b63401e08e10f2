# SPDX-License-Identifier: Apache-2.0
"""Tells the kernel which names and attributes it must not use any more.

The kernel remembers names, their absence, and attributes for up to an hour, in every folder. So
each change is sent to the kernel: a name that was added, was removed or means another node, a
folder whose time changed, a file whose attributes changed. The tree is changed first and the kernel
is told afterwards, so later requests of the kernel get new answers.

One thread sends all notifications. To invalidate a name, the kernel takes the lock of the folder,
which look-ups and listings hold too; so this thread never serves requests. Entries that are folders
only expire: to invalidate such an entry would disturb a shell whose working directory is there, and
unmount file systems that are mounted below it.

Many names at once are sent as one message, if the kernel supports it (`protocol.inc_epoch`): then
all names are looked up again; a listing does this at no extra cost.
"""

from __future__ import annotations

import errno
import itertools
import logging
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from backlotfs.catalog.versions import ProbedSource
from backlotfs.kernel import protocol
from backlotfs.kernel.nodes import NodeTable
from backlotfs.kernel.protocol import Device
from backlotfs.log import events
from backlotfs.namespace.namespace import Namespace, Snapshot
from backlotfs.namespace.tree import Folder

log = logging.getLogger(__name__)

#: Longest wait for the last notification at the end.
_DETACH_S = 5.0
#: More names than this are sent as one message; each costs about 20 µs.
MOST_NAMES = 5000


class _Name(NamedTuple):
    """A name in a folder, by the folder's node."""

    parent: int
    name: str
    is_folder: bool


class _Change(NamedTuple):
    """A change: the assets with these codes, and a new version of the library.

    :ivar replaced: whether the assets have other nodes now, so that their names are invalid.
    :ivar snapshot: each version is compared with the one before it, because the kernel may have
        seen a name that was there, or absent, in one of them only.
    """

    codes: tuple[str, ...]
    replaced: bool = False
    snapshot: Snapshot | None = None


class Notifier:
    """Sends notifications to the kernel of one mount. Any thread may call it; no call waits.

    Before `attach` and after `detach` nothing is sent.

    :ivar latest: a number that differs after each change.
    """

    def __init__(self) -> None:
        """Start no thread yet, because a fork may follow."""
        self.latest = 0
        self._numbers = itertools.count(1)
        self._changes: queue.Queue[_Change | None] = queue.Queue()
        self._namespace: Namespace | None = None
        self._nodes: NodeTable | None = None
        self._thread: threading.Thread | None = None

    @property
    def pending(self) -> bool:
        """Whether a change was not sent to the kernel yet, which may show the old state."""
        is_sending = self._thread is not None and self._thread.is_alive()
        return is_sending and self._changes.unfinished_tasks > 0

    def attach(
        self, namespace: Namespace, nodes: NodeTable, device: Device, *, expires: bool, epochs: bool
    ) -> None:
        """Send from now on. Call it before INIT is answered.

        :param expires: whether the kernel lets entries expire. :param epochs: see `inc_epoch`.
        """
        self._namespace, self._nodes = namespace, nodes
        # If a saved listing is still being read, `listing_changed` reports it later.
        if namespace.has_listing and self._changes.empty():
            self._changes.put(_Change((), snapshot=namespace.snapshot()))
        sender = _Sender(self._changes, namespace, nodes, device, expires=expires, epochs=epochs)
        self._thread = threading.Thread(target=sender.run, name="notifier", daemon=True)
        self._thread.start()

    def detach(self) -> bool:
        """Send nothing more, because the session has ended.

        :returns: False if a notification still hangs in the kernel, so that the device must not be
            closed.
        """
        self._nodes = None
        self._changes.put(None)
        if self._thread is None:
            return True
        self._thread.join(_DETACH_S)
        return not self._thread.is_alive()

    def retire(self, embed_code: str, before: ProbedSource) -> None:
        """From now on a newer version than ``before`` is shown; see `NodeTable.retire`."""
        if self._nodes is not None and self._nodes.retire(embed_code, before):
            self._put(_Change((embed_code,), replaced=True))

    def names_changed(self, embed_code: str) -> None:
        """The names of an asset mean another node now."""
        if self._nodes is not None:
            self._put(_Change((embed_code,), replaced=True))

    def attributes_changed(self, embed_codes: Iterable[str]) -> None:
        """Assets have other attributes, or none."""
        if self._nodes is not None:
            self._put(_Change(tuple(embed_codes)))

    def listing_changed(self, embed_codes: Iterable[str]) -> None:
        """A new version of the library is shown, in which these assets were touched."""
        if self._nodes is not None and self._namespace is not None:
            self._put(_Change(tuple(embed_codes), snapshot=self._namespace.snapshot()))

    def _put(self, change: _Change) -> None:
        self.latest = next(self._numbers)
        self._changes.put(change)


class _Sender:
    """Sends the notifications of a `Notifier`, on its thread."""

    def __init__(
        self,
        changes: queue.Queue[_Change | None],
        namespace: Namespace,
        nodes: NodeTable,
        device: Device,
        *,
        expires: bool,
        epochs: bool,
    ) -> None:
        self._changes = changes
        self._namespace = namespace
        self._nodes = nodes
        self._device = device
        self._expires = expires
        self._epochs = epochs
        # The entries that the kernel may have cached of each folder. A removed folder stays here
        # while the kernel knows it, because the folder may be added again.
        self._told: dict[int, Folder] = {}
        self._times: dict[int, int] = {}

    def run(self) -> None:
        """Send notifications until the session has ended."""
        while True:
            changes = [self._changes.get()]
            while not self._changes.empty():
                changes.append(self._changes.get())
            if None in changes:
                return
            try:
                self._tell([change for change in changes if change is not None])
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.EBADF):
                    return  # unmounted
                events.NOTIFICATION_LOST.log(log, reason=error.strerror)
            except Exception as error:  # noqa: BLE001  # the thread goes on
                events.JOB_FAILED.log(log, pool="notifier", failure=error)
            for _ in changes:
                self._changes.task_done()

    def _tell(self, changes: list[_Change]) -> None:
        names: list[_Name] = []
        nodes = self._nodes_of(code for change in changes for code in change.codes)
        for change in changes:
            if change.snapshot is not None:
                is_first = not self._told
                names += self._changed_names(change.snapshot)
                times = self._folder_times(change.snapshot)
                if not is_first:
                    nodes |= {
                        one for one, time_s in times.items() if self._times.get(one) != time_s
                    }
                self._times = times
        replaced = {code for change in changes if change.replaced for code in change.codes}
        if replaced:
            names += _names_of(replaced, self._namespace.snapshot())
        if len(names) > MOST_NAMES and self._epochs:
            self._send(protocol.inc_epoch())
        else:
            for parent, name, is_folder in names:
                self._send_name(parent, name, is_folder=is_folder)
        for node in nodes:
            self._send(protocol.inval_attributes(node))

    def _changed_names(self, now: Snapshot) -> list[_Name]:
        """The names that were added, were removed or mean another node.

        New folders are left out, because the kernel has none of their names.
        """
        names: list[_Name] = []
        for inode in self._told.keys() - now.places.keys():
            if not self._nodes.is_known(inode):
                del self._told[inode]
        for inode, (folder, _) in now.places.items():
            before = self._told.get(inode)
            if before is not None and before is not folder:
                names += [_Name(inode, *changed) for changed in _differences(before, folder)]
            self._told[inode] = folder
        return names

    def _folder_times(self, now: Snapshot) -> dict[int, int]:
        return {
            inode: self._namespace.folder_time(folder) for inode, (folder, _) in now.places.items()
        }

    def _nodes_of(self, codes: Iterable[str]) -> set[int]:
        rows = (self._namespace.row(code) for code in codes)
        nodes = (self._nodes.node_of(row) for row in rows if row is not None)
        return {node for node in nodes if node is not None}

    def _send_name(self, parent: int, name: str, *, is_folder: bool) -> None:
        if is_folder and not self._expires:
            return  # its entry has a short TTL
        raw = name.encode("utf-8", "surrogateescape")
        self._send(protocol.inval_entry(parent, raw, expire_only=is_folder))

    def _send(self, message: bytes) -> None:
        try:
            self._device.notify(message)
        except OSError as error:
            # ENOENT: the kernel had not cached it; ENOTDIR, ENOTEMPTY: it is in use as a mountpoint
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY, errno.EBUSY):
                raise


def _differences(before: Folder, now: Folder) -> Iterator[tuple[str, bool]]:
    old, new = before.entries, now.entries
    for name, node in new.items():
        was = old.get(name)
        if was is not node and (was is None or _inode(was) != _inode(node)):
            yield name, isinstance(was, Folder) or isinstance(node, Folder)
    for name, was in old.items():
        if name not in new:
            yield name, isinstance(was, Folder)


def _inode(entry: Folder | int) -> int:
    return entry if isinstance(entry, int) else entry.inode


def _names_of(codes: set[str], now: Snapshot) -> list[_Name]:
    """All names of these assets."""
    wanted = set(map(now.library.rows.inode, codes))
    return [
        _Name(inode, name, is_folder=False)
        for inode, (folder, _) in now.places.items()
        for name, file in folder.files()
        if file in wanted
    ]
