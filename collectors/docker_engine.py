"""What a container engine says of its containers: the Docker Engine API, which Podman speaks, too.

Only identity comes from here (id, name, image, state); limits and usage are the kernel's to tell. Labels and environments hold
secrets: no label is kept that was not asked for by name. Names are the users' to choose: hostile text.
"""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from agent.model.runtimes import DOCKER, engine_of
from agent.model.values import Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import printable

if TYPE_CHECKING:
    import urllib3

_NOT_SENT = "1.44"
# Two kilobytes are usual of a container, some fifty values, and no host runs so many.
MAX_BYTES = 32 << 20
MAX_CONTAINERS = 50_000
_MAX_VALUES = 400_000
_MAX_VALUE_BYTES = 1 << 12
_MAX_LIST_BYTES = 1 << 20

_NOTHING = msgspec.Raw(b"null")

SOCKETS = ("run/docker.sock", "run/podman/podman.sock")
DENIED = "run as root or in the socket's group"
_START = "start the engine, or name its socket: --docker unix:///path, or DOCKER_HOST"
_LISTEN = "start the engine: nobody listens there"
_HERE = "name an engine of this host: --docker unix:///path"
_LOG = "look at the engine's log"


class Container(Fact, frozen=True, kw_only=True):
    id: str
    name: str | None = None
    image: str | None = None
    state: str | None = None
    labels: dict[str, str] = {}


class Engine(Fact, frozen=True):
    """One engine that answered."""

    name: str
    version: str | None
    containers: tuple[Container, ...]


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a container in an engine's list, each value as its JSON. All else is skipped, and takes no memory."""

    id: msgspec.Raw = msgspec.field(name="Id")
    names: msgspec.Raw = msgspec.field(default=_NOTHING, name="Names")
    image: msgspec.Raw = msgspec.field(default=_NOTHING, name="Image")
    state: msgspec.Raw = msgspec.field(default=_NOTHING, name="State")
    labels: msgspec.Raw = msgspec.field(default=_NOTHING, name="Labels")


def read(root: SysRoot, gather: Callable[[], tuple[Engine, ...]]) -> tuple[Engine, ...]:
    """What engines said: of a live host what `gather` has of them, else what was recorded."""
    return root.reply("docker_engine", tuple[Engine, ...], gather)


def urls(root: SysRoot, chosen: tuple[str, ...] = (), docker_host: str | None = None) -> tuple[str, ...]:
    """The engines to ask: those that were chosen, else that of DOCKER_HOST and those whose sockets are below the root.

    Sockets of users are not looked for: whoever owns one could say what other users' containers are called.
    `Unavailable` where there is none.
    """
    stated = (docker_host,) if docker_host else ()
    engines = chosen or (*stated, *(f"unix://{path}" for name in SOCKETS if (path := root.socket(name)) is not None))
    if not engines:
        raise Unavailable("absent", "no engine socket: " + ", ".join(SOCKETS), _START)
    # /var/run is a link to /run (FHS 3.0, 5.13.2): one engine under two names is asked once.
    return tuple(dict.fromkeys(url.replace("unix:///var/run/", "unix:///run/") for url in engines))


def ask(url: str, timeout_seconds: int, labels: tuple[str, ...] = ()) -> tuple[Engine, ...]:
    """One engine. `Unavailable` where it cannot be asked, or has not answered to the end after `timeout_seconds`.

    One request, without an API version: each engine answers it in its newest one, and its Server header says which engine it is.
    /version would cost more than all else here: Podman runs its helpers and the package manager to answer it, for up to a second.
    """
    try:
        import docker
        from docker.errors import DockerException
        from requests.exceptions import RequestException, Timeout
        from urllib3.exceptions import HTTPError, ReadTimeoutError
    except ImportError:
        raise Unavailable("unsupported", "the docker library is not installed", "pip install docker") from None
    if url.startswith("ssh:"):
        raise Unavailable("unsupported", f"{url}: an engine of another host", _HERE)
    deadline = time.monotonic() + timeout_seconds
    try:
        # The version is not sent, but without one the library requests the engine's.
        client = docker.APIClient(base_url=url, version=_NOT_SENT, timeout=timeout_seconds)
        try:
            answer = client.get(f"{client.base_url}/containers/json", timeout=timeout_seconds, stream=True)
            answer.raise_for_status()
            rows = parse_rows(_bounded(_pieces(answer.raw, deadline), url))
        finally:
            client.close()
    except (DockerException, RequestException, HTTPError, OSError, ValueError, RecursionError) as error:
        if isinstance(error, (Timeout, ReadTimeoutError, TimeoutError)):
            raise Unavailable("late", f"{url}: no answer in {timeout_seconds} s", _LOG) from None
        match _error_number(error):
            case errno.ENOENT:
                raise Unavailable("absent", f"{url}: no such socket", _START) from None
            case errno.EACCES | errno.EPERM:
                raise Unavailable("denied", f"{url}: {type(error).__name__}", DENIED) from None
            case errno.ECONNREFUSED:
                raise Unavailable("failed", f"{url}: connection refused", _LISTEN) from None
        raise Unavailable("failed", f"{url}: {type(error).__name__}", _LOG) from None
    name, version = _server(answer.headers.get("Server", ""))
    return (Engine(name, version, tuple(container for row in rows if (container := _container(row, labels)) is not None)),)


def _error_number(error: BaseException) -> int | None:
    """The kernel's error number: each library wraps the exception of the one below among its arguments, or as its cause."""
    waiting: list[object] = [error]
    while waiting:
        part = waiting.pop()
        if isinstance(part, OSError) and part.errno is not None:
            return part.errno
        if isinstance(part, BaseException):
            waiting += [*part.args, part.__cause__, getattr(part, "reason", None)]
    return None


def _pieces(body: urllib3.BaseHTTPResponse, deadline: float) -> Iterator[bytes]:
    """The body as it comes: of one that drips, too, no more is waited for than the deadline (time.monotonic) allows."""
    while piece := body.read1(1 << 16, decode_content=True):
        yield piece
        if time.monotonic() > deadline:
            raise TimeoutError


def _bounded(pieces: Iterable[bytes], url: str) -> bytearray:
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > MAX_BYTES:
            raise Unavailable("failed", f"{url}: an answer of more than {MAX_BYTES >> 20} MiB", _LOG)
    return body


def parse_rows(body: bytes | bytearray) -> list[_Row]:
    """The rows of an engine's list of containers, without those that are no records or have no id. ValueError where it is no such list."""
    if body.count(b'"Id"') > MAX_CONTAINERS:
        raise ValueError(f"more than {MAX_CONTAINERS} containers")
    try:
        return msgspec.json.decode(body, type=list[_Row])
    except msgspec.DecodeError:
        # A row that is no record, or half of a surrogate pair. All of it takes memory for each value, whatever it is.
        if body.count(b",") > _MAX_VALUES:
            raise
    rows = json.loads(body)
    if not isinstance(rows, list):
        raise ValueError("no list")
    keys = tuple(zip(_Row.__struct_fields__, _Row.__struct_encode_fields__, strict=True))
    return [_Row(**{field: msgspec.Raw(json.dumps(row.get(key)).encode()) for field, key in keys}) for row in rows if isinstance(row, dict)]


def _server(header: str) -> tuple[str, str | None]:
    """Name and version by the Server header: "Docker/20.10.24 (linux)", "Libpod/4.3.1 (linux)"."""
    product, _, version = header.partition(" ")[0].partition("/")
    return (engine_of(product.lower()) or DOCKER).name, printable(version) or None


def _container(row: _Row, labels: tuple[str, ...]) -> Container | None:
    """None of a row without an id."""
    id_ = _text(row.id)
    if not id_:
        return None
    names = _value(row.names, _MAX_LIST_BYTES)
    first = names[0] if isinstance(names, list) and names else None
    every_label = _value(row.labels, _MAX_LIST_BYTES) if labels else None
    chosen = (
        {label: printable(str(every_label[label])) for label in labels if label in every_label} if isinstance(every_label, dict) else {}
    )
    return Container(
        id=id_,
        name=None if first is None else printable(str(first)).removeprefix("/"),
        image=_text(row.image),
        state=_text(row.state),
        labels=chosen,
    )


def _text(raw: msgspec.Raw) -> str | None:
    value = _value(raw, _MAX_VALUE_BYTES)
    return None if value is None else printable(str(value))


def _value(raw: msgspec.Raw, max_bytes: int) -> object:
    """None where it is null, longer than such a value is, or cannot be understood."""
    data = bytes(raw) if len(memoryview(raw)) <= max_bytes else b"null"
    try:
        # Not msgspec, which takes no half of a surrogate pair.
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
