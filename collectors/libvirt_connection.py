"""The door to libvirt: a pool of read-only connections, each lent to one thread at a time and opened again after the daemon restarts.

A peer on a network may vanish without closing its connection, and a call to it waits for ever. For those the library sends keepalive
messages, which needs a thread that runs its event loop. On this host the kernel closes the connection when a daemon ends.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from collectors.root import SysRoot, Unavailable

T = TypeVar("T")

SOCKETS = ("run/libvirt/virtqemud-sock-ro", "run/libvirt/libvirt-sock-ro")

KEEPALIVE_SECONDS, KEEPALIVE_COUNT = 5, 2
"""A peer on a network that has not answered so many times at this interval is gone."""

_LOOP = "libvirt events"
_STARTING = threading.Lock()


class Connections:
    """Read-only connections by URI. Each thread borrows one of its own: libvirtd serves at most five calls of one client at once."""

    def __init__(self) -> None:
        self._idle: dict[str, list[Any]] = {}
        self._lock = threading.Lock()

    def use(self, uri: str, ask: Callable[[Any, Any], T]) -> T:
        """`ask(libvirt, connection)`. An idle connection may be to a daemon that has ended: then it is called again, on a new one."""
        libvirt = _library()
        with self._lock:
            idle = self._idle.setdefault(uri, [])
            connection = idle.pop() if idle else None
        try:
            if connection is not None:
                try:
                    return self._lend(libvirt, uri, connection, ask)
                except libvirt.libvirtError:
                    pass
            return self._lend(libvirt, uri, _opened(libvirt, uri), ask)
        except libvirt.libvirtError as error:
            denied = error.get_error_code() in (libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_ACCESS_DENIED)
            raise Unavailable("denied" if denied else "failed", f"{uri}: {error}", "see that the libvirt daemon of this URI runs") from None

    def _lend(self, libvirt: Any, uri: str, connection: Any, ask: Callable[[Any, Any], T]) -> T:
        answer = ask(libvirt, connection)
        # One that failed is not lent again: it closes with its last reference.
        with self._lock:
            self._idle[uri].append(connection)
        return answer


def uris(root: SysRoot, chosen: tuple[str, ...]) -> tuple[str, ...]:
    """The URIs to connect to: those that were chosen, else the first socket below the root. `Unavailable` where there is none."""
    targets = chosen or tuple(f"qemu:///system?socket={path}" for name in SOCKETS if (path := root.socket(name)) is not None)[:1]
    if not targets:
        raise Unavailable("absent", "no libvirt socket: " + ", ".join(SOCKETS), "start libvirtd, or name it with --libvirt URI")
    _library()
    return tuple(dict.fromkeys(targets))


def named(uri: str) -> str:
    """A URI without its parameters."""
    return uri.partition("?")[0]


def over_network(uri: str) -> bool:
    """ "qemu+ssh://other/system", and neither "qemu:///system" nor "test:///default"."""
    return not uri.partition("://")[2].startswith("/")


def _opened(libvirt: Any, uri: str) -> Any:
    if not over_network(uri):
        return libvirt.openReadOnly(uri)
    with _STARTING:
        if not any(thread.name == _LOOP for thread in threading.enumerate()):
            # Connections that are there already do without.
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=_listen, args=(libvirt,), name=_LOOP, daemon=True).start()
    connection = libvirt.openReadOnly(uri)
    # Drivers that speak their hypervisor's own protocol (esx) have no such question.
    with contextlib.suppress(libvirt.libvirtError):
        connection.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
    return connection


def _listen(libvirt: Any) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        while True:
            libvirt.virEventRunDefaultImpl()


def _library() -> Any:
    try:
        import libvirt
    except ImportError:
        raise Unavailable("unsupported", "libvirt-python is not installed", "pip install libvirt-python (needs libvirt-dev)") from None
    # Without a handler the library prints every error to stderr.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    return libvirt
