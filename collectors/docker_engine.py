"""What a container engine says of its containers: the Docker Engine API, which Podman speaks, too.

Only identity comes from here (id, name, image, state); limits and usage are the kernel's to tell. Labels and environments hold
secrets and are not asked for. Names are the users' to choose: hostile text.
"""

from __future__ import annotations

from agent.model.values import Fact
from collectors.sysroot import SysRoot, Unavailable
from collectors.text import printable

SOCKETS = ("run/docker.sock", "run/podman/podman.sock")


class Container(Fact, frozen=True):
    id: str
    name: str | None = None
    image: str | None = None
    state: str | None = None


class Engine(Fact, frozen=True):
    """One engine that answered."""

    name: str
    version: str | None
    containers: tuple[Container, ...]


def read(root: SysRoot, urls: tuple[str, ...] = (), timeout_seconds: int = 1) -> tuple[Engine, ...]:
    """Every engine whose socket is there. Raises `Unavailable` when there is none, or one of them cannot be asked."""
    return root.reply("docker_engine", tuple[Engine, ...], lambda: ask(root, urls, timeout_seconds))


def ask(root: SysRoot, urls: tuple[str, ...], timeout_seconds: int) -> tuple[Engine, ...]:
    found = urls or tuple(f"unix://{path}" for name in SOCKETS if (path := root.socket(name)) is not None)
    if not found:
        raise Unavailable("absent", "no engine socket: " + ", ".join(SOCKETS), "start the engine, or name it with --docker URL")
    return tuple(_engine(url, timeout_seconds) for url in found)


def _engine(url: str, timeout_seconds: int) -> Engine:
    try:
        import docker
        from docker.errors import DockerException
        from requests.exceptions import RequestException, Timeout
    except ImportError:
        raise Unavailable("unsupported", "the docker library is not installed", "pip install docker") from None
    try:
        client = docker.APIClient(base_url=url, version="auto", timeout=timeout_seconds)
        try:
            version = client.version()
            rows = client.containers()
        finally:
            client.close()
    except (DockerException, RequestException, ValueError, RecursionError) as error:
        # The library wraps what its first question, for the version, runs into.
        if isinstance(error, Timeout) or isinstance(error.__cause__, Timeout):
            raise Unavailable("late", f"{url}: no answer in {timeout_seconds} s", "look at the engine's log") from None
        denied = "Permission denied" in str(error)
        remedy = "run as root or in the socket's group" if denied else "look at the engine's log"
        raise Unavailable("denied" if denied else "failed", f"{url}: {type(error).__name__}", remedy) from None
    if not isinstance(version, dict) or not isinstance(rows, list):
        raise Unavailable("failed", f"{url}: an answer that is no engine's", "look at the engine's log")
    components = version.get("Components")
    first = components[0] if isinstance(components, list) and components else None
    name = "podman" if isinstance(first, dict) and "Podman" in str(first.get("Name")) else "docker"
    return Engine(name, _text(version.get("Version")), tuple(_container(row) for row in rows if isinstance(row, dict) and row.get("Id")))


def _container(row: dict[str, object]) -> Container:
    names = row.get("Names")
    first = names[0] if isinstance(names, list) and names else None
    name = None if first is None else printable(str(first)).removeprefix("/")
    return Container(printable(str(row["Id"])), name, _text(row.get("Image")), _text(row.get("State")))


def _text(value: object) -> str | None:
    return None if value is None else printable(str(value))
