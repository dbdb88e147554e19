"""What a container engine says of its containers: the Docker Engine API, which Podman speaks, too.

Only identity comes from here (id, name, image, state); limits and usage are the kernel's to tell. Labels and environments hold
secrets: no label is kept that was not asked for by name. Names are the users' to choose: hostile text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from agent.model.runtimes import DOCKER, engine_of
from agent.model.values import Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import printable

_NOT_SENT = "1.44"
# Two kilobytes are usual of a container.
MAX_BYTES = 32 << 20

SOCKETS = ("run/docker.sock", "run/podman/podman.sock")


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


def read(root: SysRoot, urls: tuple[str, ...] = (), timeout_seconds: int = 1, labels: tuple[str, ...] = ()) -> tuple[Engine, ...]:
    """Every engine whose socket is there. Raises `Unavailable` when there is none, or one of them cannot be asked."""
    return root.reply("docker_engine", tuple[Engine, ...], lambda: ask(root, urls, timeout_seconds, labels))


def ask(root: SysRoot, urls: tuple[str, ...], timeout_seconds: int, labels: tuple[str, ...]) -> tuple[Engine, ...]:
    """The engines of a live host: those of `urls`, else those whose sockets are below the root."""
    engines = urls or tuple(f"unix://{path}" for name in SOCKETS if (path := root.socket(name)) is not None)
    if not engines:
        raise Unavailable("absent", "no engine socket: " + ", ".join(SOCKETS), "start the engine, or name it with --docker URL")
    return tuple(_engine(url, timeout_seconds, labels) for url in engines)


def _engine(url: str, timeout_seconds: int, labels: tuple[str, ...]) -> Engine:
    """One request, without an API version: each engine answers it in its newest one, and its Server header says which engine it is.

    /version would cost more than all else here: Podman runs its helpers and the package manager to answer it, for up to a second.
    """
    try:
        import docker
        from docker.errors import DockerException
        from requests.exceptions import RequestException, Timeout
    except ImportError:
        raise Unavailable("unsupported", "the docker library is not installed", "pip install docker") from None
    try:
        # The version is not sent, but without one the library requests the engine's.
        client = docker.APIClient(base_url=url, version=_NOT_SENT, timeout=timeout_seconds)
        try:
            answer = client.get(f"{client.base_url}/containers/json", timeout=timeout_seconds, stream=True)
            answer.raise_for_status()
            body = b"".join(_bounded(answer.iter_content(1 << 16), url))
            rows = json.loads(body)
        finally:
            client.close()
    except (DockerException, RequestException, ValueError, RecursionError) as error:
        if isinstance(error, Timeout):
            raise Unavailable("late", f"{url}: no answer in {timeout_seconds} s", "look at the engine's log") from None
        denied = "Permission denied" in str(error)
        remedy = "run as root or in the socket's group" if denied else "look at the engine's log"
        raise Unavailable("denied" if denied else "failed", f"{url}: {type(error).__name__}", remedy) from None
    if not isinstance(rows, list):
        raise Unavailable("failed", f"{url}: an answer that is no engine's", "look at the engine's log")
    name, version = _server(answer.headers.get("Server", ""))
    return Engine(name, version, tuple(_container(row, labels) for row in rows if isinstance(row, dict) and row.get("Id")))


def _bounded(pieces: Iterable[bytes], url: str) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_BYTES:
            raise Unavailable("failed", f"{url}: an answer of more than {MAX_BYTES >> 20} MiB", "look at the engine's log")
        yield piece


def _server(header: str) -> tuple[str, str | None]:
    """Name and version by the Server header: "Docker/20.10.24 (linux)", "Libpod/4.3.1 (linux)"."""
    product, _, version = header.partition(" ")[0].partition("/")
    return (engine_of(product.lower()) or DOCKER).name, printable(version) or None


def _container(row: dict[str, object], labels: tuple[str, ...]) -> Container:
    names = row.get("Names")
    first = names[0] if isinstance(names, list) and names else None
    name = None if first is None else printable(str(first)).removeprefix("/")
    every_label = row.get("Labels")
    chosen = (
        {label: printable(str(every_label[label])) for label in labels if label in every_label} if isinstance(every_label, dict) else {}
    )
    return Container(id=printable(str(row["Id"])), name=name, image=_text(row.get("Image")), state=_text(row.get("State")), labels=chosen)


def _text(value: object) -> str | None:
    return None if value is None else printable(str(value))
