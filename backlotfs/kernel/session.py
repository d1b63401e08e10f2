# SPDX-License-Identifier: Apache-2.0
"""The FUSE session, which implements the kernel's protocol itself, without libfuse.

The session receives requests (`serve`), looks up their files and folders (`kernel.nodes`), calls
the operations (`kernel.operations`) and sends the answers (`kernel.protocol`).

Who waits. LOOKUP and READDIRPLUS never wait: the kernel holds the lock of the folder until they are
answered. A file of unknown size gets its node at once, and attributes that are valid for 0 s. So
the kernel asks for the attributes again by GETATTR, which holds no lock. Each process sends its own
GETATTR, which ends when the process is killed (INTERRUPT). OPEN waits too. A READ that waits
occupies no thread (`read_requests`).

Threads: `BASE_THREADS` threads receive. An operation that may wait keeps its thread, so if no
thread is left to receive, another is started. A thread ends after its operation if enough others
are idle.

How long the kernel may use an answer. Names, absent names and attributes are valid for
`LONG_TTL_S`, because `kernel.notifier` tells the kernel of each change. Virtual files and names
that may become virtual files change without notice, so the kernel looks them up again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from backlotfs.catalog.db.rows import AssetRow
from backlotfs.concurrency.interruptible_wait import WouldWait
from backlotfs.errors import BacklotError, BadHandle, NoSuchEntry
from backlotfs.kernel import mounting, protocol
from backlotfs.kernel.errno_boundary import errno_of, os_error
from backlotfs.kernel.mounting import MountOptions
from backlotfs.kernel.nodes import NodeTable, StaleNode
from backlotfs.kernel.notifier import Notifier
from backlotfs.kernel.operations import STATFS_BLOCK_BYTES, Operations
from backlotfs.kernel.passthrough import Passthrough
from backlotfs.kernel.protocol import Attr, Device, Header, MalformedRequest
from backlotfs.kernel.read_requests import ReadContext, ReadRequests
from backlotfs.log import events
from backlotfs.namespace.attributes import FILE_MODE, FOLDER_MODE, IO_BLOCK_BYTES, Attributes
from backlotfs.namespace.namespace import Found
from backlotfs.namespace.naming import MAX_NAME_BYTES
from backlotfs.namespace.tree import Entry, Folder, VirtualFile, VirtualFolder, VirtualVersion

log = logging.getLogger(__name__)

#: Number of threads that receive while nothing waits.
BASE_THREADS = 3
#: Most threads. At most `deadlines.MOST_WAITS` of them wait for the network at a time.
MAX_THREADS = 512
#: Most asynchronous requests of the kernel for the whole mount: with its default of 12, the
#: read-ahead of a few stalled readers stops all other readers (measured).
MAX_BACKGROUND = 256
#: How long the kernel may use names, absent names and attributes, in seconds.
LONG_TTL_S = 3600
#: The same for names of folders on kernels that cannot let them expire (before Linux 6.2), and for
#: names, and attributes of folders, that change without notice.
SHORT_TTL_S = 1
#: Most interrupts that are kept for requests that another thread has not begun to serve.
_EARLY = 256


class _Piece(NamedTuple):
    """A piece of a listing: one answer to READDIRPLUS.

    :ivar taken: its entries. :ivar parts: its bytes, one item for each entry.
    :ivar nodes: the nodes to each of which the answer gives one reference.
    """

    taken: list[tuple[Entry, bytes]]
    parts: list[bytes]
    nodes: list[int]


class _Ahead(NamedTuple):
    """A piece that was made before the kernel asked for it.

    :ivar offset: where it begins. :ivar room: bytes of the answer that it was made for.
    :ivar latest: `Notifier.latest` before it was made: if that differs now, the piece is not used.
    """

    offset: int
    room: int
    latest: int
    piece: _Piece


class _OpenFolder:
    """An open folder: one listing, which the kernel reads piece by piece.

    :ivar lock: held while a piece is made and sent. :ivar ahead: the next piece, if it is made.
    """

    def __init__(self, entries: Callable[[], Iterator[Entry]]) -> None:
        """``entries`` makes the listing from its beginning."""
        self.lock = threading.Lock()
        self.ahead: _Ahead | None = None
        self._make = entries
        self._entries: Iterator[Entry] = iter(())
        self._next: list[Entry] = []  # entries that did not fit into the last answer
        self._offset = -1

    @property
    def has_more(self) -> bool:
        """Whether `take` left an entry over."""
        return bool(self._next)

    def put_back(self, offset: int, taken: list[tuple[Entry, bytes]]) -> None:
        """Undo the last `take`, which was from ``offset`` on."""
        self._next = [entry for entry, _ in taken] + self._next
        self._offset = offset

    def take(self, offset: int, room: int, *, plus: bool) -> list[tuple[Entry, bytes]]:
        """The entries from ``offset`` on that fit into an answer, with their names in bytes.

        :param room: bytes of the answer. :param plus: whether it answers READDIRPLUS.
        """
        if offset != self._offset:
            self._entries, self._next = islice(self._make(), offset, None), []
        self._offset = -1  # if the listing fails, it is made again
        head = protocol.dirent_bytes(b"", plus=plus)
        taken: list[tuple[Entry, bytes]] = []
        left = iter(self._next)
        for entry in chain(left, self._entries):
            name = entry[0].encode("utf-8", "surrogateescape")
            room -= head + (len(name) + 7 & ~7)
            if room < 0:
                self._next = [entry, *left]
                break
            taken.append((entry, name))
        else:
            self._next = []
        self._offset = offset + len(taken)
        return taken


class _Operation:
    """An operation that runs on a thread.

    :ivar interrupted: whether its caller was killed.
    """

    __slots__ = ("interrupted", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.interrupted = False


class FuseSession:
    """A session with the kernel. `serve` runs on one thread; any thread may call the others.

    :ivar notifier: tells the kernel what has changed.
    :ivar passthrough: decides which files the kernel reads itself.
    """

    def __init__(self, passthrough: Passthrough | None = None) -> None:
        """Open nothing yet.

        :param passthrough: decides which files the kernel reads itself; None: none.
        """
        self.notifier = Notifier()
        self.passthrough = passthrough or Passthrough()
        self.began = threading.Event()
        self._here = threading.local()
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads: set[threading.Thread] = set()
        self._running: dict[int, _Operation] = {}
        self._early: OrderedDict[int, None] = OrderedDict()
        self._folders: dict[int, _OpenFolder] = {}
        self._next_folder = 1
        self._reads: ReadRequests | None = None

    # --- for the waits of operations

    def interrupted(self) -> bool:
        """Whether this thread's operation must end: its caller was killed, or the mount ends."""
        operation: _Operation | None = getattr(self._here, "operation", None)
        return self._ending.is_set() or (operation is not None and operation.interrupted)

    def caller(self) -> int:
        """The process id of the caller of the operation on this thread."""
        operation: _Operation | None = getattr(self._here, "operation", None)
        return 0 if operation is None else operation.pid

    def waiting_reads(self) -> list[tuple[int, str]]:
        """The thread id and embed code of each read that waits."""
        return [] if self._reads is None else self._reads.waiting()

    def end(self) -> None:
        """Let every operation that waits fail now, and later ones that would wait."""
        self._ending.set()
        if self._reads is not None:
            self._reads.end()

    # --- the session

    def serve(
        self,
        mountpoint: Path,
        options: MountOptions,
        operations: Operations,
        context: ReadContext,
        mounted: Callable[[], None],
    ) -> None:
        """Mount, and serve until the mount is gone and no operation runs any more.

        :param mounted: called when the kernel has the mount.
        :raises FuseUnusable: it cannot be mounted.
        """
        descriptor = mounting.mount(mountpoint, options)
        mounted()
        self._device = device = Device(descriptor)
        try:
            self._operations = operations
            self._namespace = operations.namespace
            self._nodes = NodeTable(operations.namespace)
            mode = FILE_MODE & ~self._namespace.options.umask
            uid, gid = operations.owner
            self._file_plus = protocol.file_plus(mode, uid, gid, IO_BLOCK_BYTES, LONG_TTL_S)
            self._expires = False
            self._reads = ReadRequests(device, operations.begin, context)
            self._reads.start()
            self._receive_on_threads()
        finally:
            self.end()
            if self.notifier.detach():
                device.close()

    def _receive_on_threads(self) -> None:
        with self._lock:
            for _ in range(BASE_THREADS):
                self._start_thread()
        while True:
            with self._lock:
                thread = next(iter(self._threads), None)
            if thread is None:
                return
            thread.join()
            with self._lock:
                self._threads.discard(thread)

    def _start_thread(self) -> None:
        """Start a thread that receives; call with the lock held.

        The thread counts as idle at once. Otherwise every busy thread that finishes before the new
        thread runs would continue to receive as well.

        :raises RuntimeError: the system has no thread left.
        """
        thread = threading.Thread(target=self._receive, name="fuse", daemon=True)
        thread.start()
        self._idle += 1
        self._threads.add(thread)

    def _receive(self) -> None:
        buffer = bytearray(protocol.REQUEST_BYTES)
        received = memoryview(buffer)
        idle = True
        try:
            while length := self._device.receive(buffer):
                idle = self._dispatch(bytes(received[:length]))
                if not idle:
                    break
        except OSError as error:
            events.DEVICE_LOST.log(log, reason=error.strerror)
        finally:
            with self._lock:
                self._idle -= idle

    def _dispatch(self, message: bytes) -> bool:
        """Serve one request; return whether this thread continues to receive."""
        try:
            request = protocol.parse_header(message)
        except MalformedRequest as error:  # it has no number that could be answered
            events.REQUEST_MALFORMED.log(log, reason=error)
            return True
        if request.opcode == protocol.READ:
            self._read(request, message)
            return True
        if request.opcode in _AT_ONCE:
            self._answer(request, message)
            return True
        self._have_a_receiver()
        self._answer(request, message)
        return self._stays()

    def _read(self, request: Header, message: bytes) -> None:
        """Begin a READ; this thread does not wait until it is answered."""
        try:
            read = protocol.parse_read(message, request.pid)
        except MalformedRequest as error:
            self._refuse_malformed(request, error)
            return
        assert self._reads is not None
        self._reads.serve(request.unique, read)

    def _refuse_malformed(self, request: Header, error: MalformedRequest) -> None:
        events.REQUEST_MALFORMED.log(log, reason=error)
        if request.opcode not in _AT_ONCE:  # those have no answer
            self._device.refuse(request.unique, errno.EINVAL)

    def _have_a_receiver(self) -> None:
        """Mark this thread as busy; start another if none is left to receive."""
        with self._lock:
            self._idle -= 1
            if not self._idle and len(self._threads) < MAX_THREADS:
                try:
                    self._start_thread()
                except RuntimeError as error:  # the next request waits until a thread is free
                    events.RECEIVER_STARVED.log(log, reason=error)

    def _stays(self) -> bool:
        """Whether this thread continues to receive after its request; then it is idle again."""
        with self._lock:
            # A thread that ends is not counted from here on. Otherwise all others could end as
            # well, and the session would end while it is in use.
            if self._idle < BASE_THREADS:
                self._idle += 1
                return True
            self._threads.discard(threading.current_thread())
            return False

    def _answer(self, request: Header, message: bytes) -> None:
        """Call the operation of a request, and answer it exactly once if it wants an answer."""
        unique, opcode = request.unique, request.opcode
        serve = _OPERATIONS.get(opcode)
        if serve is None:
            self._device.refuse(unique, _refusal(opcode))
            return
        self._begin(unique, request.pid)
        try:
            answer = serve(self, request, message)
        except MalformedRequest as error:
            self._refuse_malformed(request, error)
        except Exception as error:  # noqa: BLE001  # the kernel must get an answer
            self._device.refuse(unique, errno_of(serve.__name__.strip("_"), error))
        else:
            if answer is not None:
                self._device.reply(unique, (answer,))
        finally:
            self._end(unique)

    def _begin(self, unique: int, pid: int) -> None:
        operation = self._here.operation = _Operation(pid)
        with self._lock:
            self._running[unique] = operation
            operation.interrupted = self._early.pop(unique, self) is None

    def _end(self, unique: int) -> None:
        self._here.operation = None
        with self._lock:
            self._running.pop(unique, None)

    # --- operations: each returns its answer, or None if the request has none

    def _init(self, request: Header, message: bytes) -> bytes | None:
        offer = protocol.parse_init(message)
        if offer.major > protocol.MAJOR:
            return protocol.version_out()
        if offer.major < protocol.MAJOR:
            raise os_error(errno.EINVAL)
        wanted = protocol.WANTED | (protocol.PASSTHROUGH if self.passthrough.wanted else 0)
        features = offer.features & wanted
        self.passthrough.begin(self._device, offered=bool(features & protocol.PASSTHROUGH))
        self._expires = bool(features & protocol.HAS_EXPIRE_ONLY)
        self.notifier.attach(
            self._namespace,
            self._nodes,
            self._device,
            expires=self._expires,
            epochs=offer.minor >= protocol.HAS_INC_EPOCH,
        )
        answer = protocol.init_out(offer.minor, offer.readahead_bytes, features, MAX_BACKGROUND)
        self._device.reply(request.unique, (answer,))
        self.began.set()
        return None

    def _lookup(self, request: Header, message: bytes) -> bytes | None:
        name = protocol.parse_name(message).decode("utf-8", "surrogateescape")
        parent = request.node
        try:
            found = self._nodes.child(parent, name)
        except NoSuchEntry:
            if self._namespace.may_appear(name) or self._namespace.place(parent) is None:
                raise  # the kernel must not remember the absence
            return protocol.absent_out(LONG_TTL_S)
        entry = _entry_of(name, found)
        if isinstance(found, VirtualFile):
            with contextlib.suppress(BacklotError, WouldWait):
                self._nodes.follow_virtual(
                    entry.inode, lambda: self._operations.attributes_now(found)
                )
        while True:
            # before the attributes are read, so that a later replacement retires the node
            (node,) = self._nodes.refer(parent, [entry])
            try:
                attr, valid_s = self._attr_now(node, entry)
            except BaseException:
                self._nodes.forget(node, 1)
                raise
            if not self._nodes.is_retired(node):
                break
            self._nodes.forget(node, 1)
        answer = protocol.entry_out(node, attr, self._entry_ttl_s(entry), valid_s)
        if not self._device.reply(request.unique, (answer,)):
            self._nodes.forget(node, 1)
        return None

    def _forget(self, request: Header, message: bytes) -> None:
        self._nodes.forget(request.node, protocol.parse_handle(message))

    def _batch_forget(self, _request: Header, message: bytes) -> None:
        for node, count in protocol.parse_forgets(message):
            self._nodes.forget(node, count)

    def _getattr(self, request: Header, message: bytes) -> bytes:
        return protocol.attr_out(*self._attr_of(request.node, message))

    def _statx(self, request: Header, message: bytes) -> bytes:
        return protocol.statx_out(*self._attr_of(request.node, message))

    def _attr_of(self, node: int, message: bytes) -> tuple[Attr, int]:
        """The attributes of a node, and how long they are valid; waits for them."""
        protocol.check_getattr(message)
        if node == protocol.ROOT_NODE:
            beforehand = self._namespace.root_beforehand()
            if beforehand is not None:
                return self._attr(beforehand), 0
        opened = self._nodes.opened_virtual(node)
        if opened is not None:  # an open file keeps its size, by which programs read and map it
            return self._attr(opened), 0
        retired = self._nodes.retired(node)
        if retired is None:
            found = self._nodes.found(node)
            attributes = self._operations.attributes(found)
            retired = self._nodes.retired(node)  # the wait may have found another version
        if retired is not None:
            return self._attr(self._namespace.attributes_of_version(retired)), LONG_TTL_S
        if isinstance(found, AssetRow):
            attr = self._attr(attributes, born_s=found.created_at_s)
            return attr, LONG_TTL_S if attributes.settled else 0
        if isinstance(found, Folder | VirtualFolder):
            return self._attr(attributes), self._folder_ttl_s
        return self._attr(attributes), 0

    def _open(self, request: Header, message: bytes) -> bytes | None:
        node, flags = request.node, protocol.parse_number(message)
        found = self._nodes.found(node)
        name = found.name if isinstance(found, AssetRow) else f"node {node}"
        fh, version, no_prefetch = self._operations.open(found, name, flags)
        backing_id = 0
        if isinstance(version, VirtualVersion):
            if not self._nodes.bind_virtual(node, version):
                self._operations.release(fh)
                raise StaleNode(f"node {node} was replaced")
            how = protocol.FOPEN_DIRECT_IO  # its bytes may change without a notification
        elif self._nodes.bind(node, version):
            backing_id = self.passthrough.opened(node, version)
            # A node has one version, so the cached pages are valid for every open.
            how = protocol.FOPEN_DIRECT_IO if no_prefetch else protocol.FOPEN_KEEP_CACHE
            if backing_id:
                how = protocol.FOPEN_PASSTHROUGH
        else:
            self._operations.release(fh)
            self.notifier.names_changed(version.embed_code)
            raise StaleNode(f"{version.embed_code} was replaced")
        if not self._device.reply(request.unique, (protocol.open_out(fh, how, backing_id),)):
            self._close(node, fh)
        return None

    def _close(self, node: int, fh: int) -> None:
        self._operations.release(fh)
        self._nodes.closed(node)
        self.passthrough.closed(node)

    def _flush(self, _request: Header, message: bytes) -> bytes:
        self._operations.flush(protocol.parse_handle(message))
        return b""

    def _release(self, request: Header, message: bytes) -> bytes:
        self._close(request.node, protocol.parse_handle(message))
        return b""

    def _opendir(self, request: Header, _message: bytes) -> bytes | None:
        node = request.node
        found = self._nodes.found(node)
        if not isinstance(found, Folder | VirtualFolder):
            raise os_error(errno.ENOTDIR)

        def entries() -> Iterator[Entry]:
            here = self._nodes.found(node)
            dots = (Entry(".", node, True), Entry("..", protocol.ROOT_NODE, True))
            return chain(dots, self._namespace.entries(here))

        with self._lock:
            self._next_folder += 1
            fh = self._next_folder
            self._folders[fh] = _OpenFolder(entries)
        if not self._device.reply(request.unique, (protocol.open_out(fh),)):
            self._folders.pop(fh, None)
        return None

    def _releasedir(self, _request: Header, message: bytes) -> bytes:
        folder = self._folders.pop(protocol.parse_handle(message), None)
        if folder is not None:
            with folder.lock:
                self._drop_ahead(folder)
        return b""

    def _readdir(self, _request: Header, message: bytes) -> bytes:
        fh, offset, size, _ = protocol.parse_read(message)
        folder = self._open_folder(fh)
        with folder.lock:
            self._drop_ahead(folder)
            taken = folder.take(offset, size, plus=False)
        return b"".join(
            protocol.dirent(entry.inode, name, after, is_directory=entry.is_directory)
            for after, (entry, name) in enumerate(taken, offset + 1)
        )

    def _readdirplus(self, request: Header, message: bytes) -> bytes | None:
        fh, offset, room, _ = protocol.parse_read(message)
        folder = self._open_folder(fh)
        with folder.lock:
            ahead = folder.ahead
            if ahead is not None and (offset, room, self.notifier.latest) == ahead[:3]:
                folder.ahead, piece = None, ahead.piece
            else:
                self._drop_ahead(folder)
                piece = self._piece(folder, request.node, offset, room)
            if not self._device.reply(request.unique, piece.parts):
                self._forget_all(piece.nodes)
            elif folder.has_more:
                try:
                    self._look_ahead(folder, request.node, offset + len(piece.taken), room)
                except Exception as error:  # noqa: BLE001  # the next request meets it, too
                    log.debug("no piece of a listing was made ahead: %s", error)
                    self._drop_ahead(folder)
        return None

    def _piece(self, folder: _OpenFolder, parent: int, offset: int, room: int) -> _Piece:
        """A piece of a listing. Call it with the folder's lock held.

        :param parent: the folder's node. :param room: bytes of the answer.
        """
        taken = folder.take(offset, room, plus=True)
        dots = max(0, min(_DOTS - offset, len(taken)))
        # before the attributes are read, so that a later replacement retires the node
        nodes = self._nodes.refer(parent, [entry for entry, _ in taken[dots:]])
        try:
            return _Piece(taken, self._plus_lines(offset, taken, [0] * dots + nodes, nodes), nodes)
        except BaseException:
            self._forget_all(nodes)
            raise

    def _look_ahead(self, folder: _OpenFolder, parent: int, offset: int, room: int) -> None:
        """Make the next piece of a long listing while the kernel processes the last one.

        This is done only if all entries are files of known size, because `Notifier.latest` counts
        every change of such files. Call it with the folder's lock held.
        """
        latest = self.notifier.latest  # before the entries are read, so that no change is missed
        taken = folder.take(offset, room, plus=True)
        if None in self._namespace.plain_files(entry.inode for entry, _ in taken):
            folder.put_back(offset, taken)
            return
        piece = _Piece(taken, [], self._nodes.refer(parent, [entry for entry, _ in taken]))
        folder.ahead = _Ahead(offset, room, latest, piece)
        # read again, to notice a replacement that was made before the references were given
        plain = self._namespace.plain_files(entry.inode for entry, _ in taken)
        make = self._file_plus
        lines = enumerate(zip(taken, piece.nodes, plain, strict=True), offset + 1)
        for after, ((entry, name), node, file) in lines:
            if file is None or self._nodes.is_retired(node):
                self._drop_ahead(folder)
                return
            piece.parts.append(make(node, entry.inode, *file, name, after))

    def _drop_ahead(self, folder: _OpenFolder) -> None:
        """Drop the piece that was made ahead; put its entries back. Call it with the lock held."""
        if folder.ahead is not None:
            self._forget_all(folder.ahead.piece.nodes)
            folder.put_back(folder.ahead.offset, folder.ahead.piece.taken)
            folder.ahead = None

    def _plus_lines(
        self, offset: int, taken: list[tuple[Entry, bytes]], numbers: list[int], nodes: list[int]
    ) -> list[bytes]:
        """The entries of READDIRPLUS from ``offset`` on.

        :param numbers: the node of each entry; 0 if the entry gives no reference.
        :param nodes: the nodes to which the entries give references. A node whose entry is listed
            without its attributes is removed from this list.
        """
        file_plus, is_retired = self._file_plus, self._nodes.is_retired
        plain = self._namespace.plain_files(entry.inode for entry, _ in taken)
        parts: list[bytes] = []
        lines = zip(taken, numbers, plain, strict=True)
        for after, ((entry, name), node, file) in enumerate(lines, offset + 1):
            # after `plain_files`, so that the attributes are those of the node's version
            if file is not None and not is_retired(node):
                parts.append(file_plus(node, entry.inode, *file, name, after))
                continue
            known = self._attr_listed(node, entry)
            if known is None:
                nodes.remove(node)
                self._nodes.forget(node, 1)
                node = 0  # only its name is listed
                known = self._attr_now(node, entry._replace(in_tree=False))
            attr, valid_s = known
            ttl_s = self._entry_ttl_s(entry)
            parts.append(protocol.direntplus(node, attr, name, after, ttl_s, valid_s))
        return parts

    def _attr_listed(self, node: int, entry: Entry) -> tuple[Attr, int] | None:
        """See `_attr_now`; None: the entry is listed without attributes, and looked up later."""
        if self._nodes.opened_virtual(node) is not None:
            return None  # its bytes may have changed since it was opened
        try:
            return self._attr_now(node, entry)
        except BacklotError:
            return None  # the source was removed a moment ago, or the program may not wait

    def _forget_all(self, nodes: list[int]) -> None:
        for node in nodes:
            self._nodes.forget(node, 1)

    def _open_folder(self, fh: int) -> _OpenFolder:
        folder = self._folders.get(fh)
        if folder is None:
            raise BadHandle(f"folder handle {fh} is not open")
        return folder

    def _statfs(self, _request: Header, _message: bytes) -> bytes:
        totals = self._namespace.totals()
        return protocol.statfs_out(totals.size, totals.files, STATFS_BLOCK_BYTES, MAX_NAME_BYTES)

    def _access(self, _request: Header, message: bytes) -> bytes:
        self._operations.access(protocol.parse_number(message))
        return b""

    def _getxattr(self, request: Header, message: bytes) -> bytes:
        room = protocol.parse_number(message)
        name = protocol.parse_name(message, after=8).decode("utf-8", "surrogateescape")
        value = self._namespace.xattr(self._nodes.successor(request.node), name)
        return protocol.xattr_out(value, room)

    def _listxattr(self, request: Header, message: bytes) -> bytes:
        names = self._operations.xattr_names(self._nodes.successor(request.node))
        return protocol.xattr_out(
            b"".join(name.encode() + b"\0" for name in names), protocol.parse_number(message)
        )

    def _nothing(self, _request: Header, _message: bytes) -> bytes:
        return b""

    def _interrupt(self, _request: Header, message: bytes) -> None:
        unique = protocol.parse_handle(message)
        with self._lock:
            operation = self._running.get(unique)
            if operation is not None:
                operation.interrupted = True
                return
            self._early[unique] = None
            while len(self._early) > _EARLY:
                self._early.popitem(last=False)
        assert self._reads is not None
        self._reads.interrupt(unique)

    def _ignore(self, _request: Header, _message: bytes) -> None:
        """Ignore a NOTIFY_REPLY: it has no answer, and no notification asks for one."""

    # --- attributes

    def _attr(self, attributes: Attributes, *, born_s: int = 0) -> Attr:
        inode, mode, nlink, size, mtime_s, _ = attributes
        uid, gid = self._operations.owner
        return Attr(inode, size, mtime_s, mode, nlink, uid, gid, IO_BLOCK_BYTES, born_s)

    def _attr_now(self, node: int, entry: Entry) -> tuple[Attr, int]:
        """The attributes of an entry as they are known now, and how long they are valid.

        The attributes of a node are always those of its own version: with another size the kernel
        would drop pages of programs that have the file open or mapped.
        """
        if not entry.in_tree:
            # A virtual file is made only when GETATTR asks for its size; until then the size is 0.
            kind = FOLDER_MODE if entry.is_directory else FILE_MODE
            mode = kind & ~self._namespace.options.umask
            made = self._nodes.opened_virtual(node) or Attributes(entry.inode, mode, 1, 0, 0)
            return self._attr(made), 0
        found = self._namespace.in_tree(entry.inode)
        if found is None:
            raise NoSuchEntry(f"{entry.name!r} went a moment ago")
        attributes = self._operations.attributes_now(found)
        if entry.is_directory:
            return self._attr(attributes), self._folder_ttl_s
        before = self._nodes.version_before(node, attributes)
        if before is not None:
            return self._attr(self._namespace.attributes_of_version(before)), 0
        return self._attr(attributes), LONG_TTL_S if attributes.settled else 0

    def _entry_ttl_s(self, entry: Entry) -> int:
        is_steady = entry.in_tree and (self._expires or not entry.is_directory)
        return LONG_TTL_S if is_steady else SHORT_TTL_S

    @property
    def _folder_ttl_s(self) -> int:
        """How long attributes of folders are valid.

        Virtual files are added and removed without a notification, and change these attributes.
        """
        return SHORT_TTL_S if self._namespace.has_providers else LONG_TTL_S


#: The first entries of a listing, ``.`` and ``..``, which give no reference.
_DOTS = 2


def _entry_of(name: str, found: Found) -> Entry:
    """The entry of a listing for a file or folder."""
    if isinstance(found, Folder | AssetRow):
        return Entry(name, found.inode, isinstance(found, Folder), True)
    return Entry(name, found.inode, isinstance(found, VirtualFolder))


def _refusal(opcode: int) -> int:
    """The errno for an operation that is not served."""
    if opcode in protocol.WRITING:
        return errno.EROFS
    if opcode == protocol.READLINK:
        return errno.EINVAL
    return errno.ENOTTY if opcode == protocol.IOCTL else errno.ENOSYS


_Serve = Callable[[FuseSession, Header, bytes], bytes | None]
_OPERATIONS: Mapping[int, _Serve] = {
    protocol.INIT: FuseSession._init,
    protocol.LOOKUP: FuseSession._lookup,
    protocol.FORGET: FuseSession._forget,
    protocol.BATCH_FORGET: FuseSession._batch_forget,
    protocol.GETATTR: FuseSession._getattr,
    protocol.STATX: FuseSession._statx,
    protocol.OPEN: FuseSession._open,
    protocol.FLUSH: FuseSession._flush,
    protocol.RELEASE: FuseSession._release,
    protocol.FSYNC: FuseSession._nothing,
    protocol.OPENDIR: FuseSession._opendir,
    protocol.READDIR: FuseSession._readdir,
    protocol.READDIRPLUS: FuseSession._readdirplus,
    protocol.RELEASEDIR: FuseSession._releasedir,
    protocol.FSYNCDIR: FuseSession._nothing,
    protocol.STATFS: FuseSession._statfs,
    protocol.ACCESS: FuseSession._access,
    protocol.GETXATTR: FuseSession._getxattr,
    protocol.LISTXATTR: FuseSession._listxattr,
    protocol.INTERRUPT: FuseSession._interrupt,
    protocol.DESTROY: FuseSession._nothing,
    protocol.NOTIFY_REPLY: FuseSession._ignore,
}
#: Requests that are served at once, on a thread that still counts as idle.
_AT_ONCE = frozenset(
    {protocol.FORGET, protocol.BATCH_FORGET, protocol.INTERRUPT, protocol.NOTIFY_REPLY}
)
