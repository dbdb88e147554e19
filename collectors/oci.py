"""Containers as their runtimes keep them below run/, root's and users': bundles of containerd, CRI-O and Podman, states of runc and crun.

Sources: the OCI runtime specification (config.md, config-linux.md), containerd's bundles (core/runtime/v2: config.json, `shim-binary-path`,
and `runtime`, where runc's shim notes the program it was told to run), runc's state.json, crun's status; the annotations of containerd's
CRI, CRI-O and Podman. Written once: what was read of a bundle stands as long as its directory is the same one. They hold
command lines and environments: no more of them is kept, by a recording either, than is said here. All of it is hostile text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import msgspec

from agent.model.runtimes import CONTAINERD, PODMAN, engine_of
from agent.model.values import Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed, printable

T = TypeVar("T")

_BUNDLES = ("containerd/io.containerd.runtime.v2.task", "docker/containerd/daemon/io.containerd.runtime.v2.task")
_USERDATA = "containers/storage/overlay-containers"
# Podman's and BuildKit's storage of a user is one directory less deep (containers/storage, types/options.go).
_USERDATA_OF_USER = "containers/overlay-containers"
STATES = {"runc": "state.json", "crun": "status"}
USERDATA = f"run/{_USERDATA}"
TOPS = (*(f"run/{place}" for place in _BUNDLES), USERDATA, *(f"run/{runtime}" for runtime in STATES))
USERS = "run/user"
LOGGED_IN = "run/systemd/users"
_EXITS = ("crio/exits", "libpod/exits", "libpod/tmp/exits")

MAX_BYTES = 1 << 20
MAX_CONTAINERS = 20_000
MAX_CONTAINERS_OF_USER = 256
MAX_USERS = 256

# The same thing under the names of containerd's CRI and of CRI-O, which are the kubelet's labels.
_NAME = ("io.kubernetes.cri.container-name", "io.kubernetes.container.name")
_IMAGE = ("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName")
_POD_NAME = ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name")
_POD_NAMESPACE = ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace")
_MANAGER = "io.container.manager"
_WANTED = (*_NAME, *_IMAGE, *_POD_NAME, *_POD_NAMESPACE, _MANAGER)


class Bundle(Fact, frozen=True, kw_only=True):
    """One container. `cgroup` is its group's path, `runtime` the program that runs it: "runc", "runsc" (gVisor), "kata".

    `uid` is the user who keeps it and may write there what he likes: he says nothing of groups but his own. None: root. `labels` are the
    annotations that were asked for.
    """

    id: str
    uid: int | None = None
    engine: str
    cgroup: str | None = None
    runtime: str | None = None
    name: str | None = None
    image: str | None = None
    pod_name: str | None = None
    pod_namespace: str | None = None
    labels: dict[str, str] = {}


class _Linux(msgspec.Struct, frozen=True, omit_defaults=True):
    cgroupsPath: str | None = None  # noqa: N815 (the specification's)


class _File(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is read of the three kinds of files: config.json has the first two, state.json the next, status the last."""

    annotations: dict[str, str] | None = None
    linux: _Linux | None = None
    cgroup_paths: dict[str, str] | None = None
    cgroup_path: str | None = msgspec.field(default=None, name="cgroup-path")
    left_out: bool = False
    """Whether some of these are not what the specification says. Not which, and not what: there are environments in it."""


@dataclass(slots=True)
class BundleCache:
    """What was read of each container's directory, by its path, with the inode that tells it from the next one of that name."""

    bundles: dict[str, tuple[int, Bundle]] = field(default_factory=dict)


def read(root: SysRoot, cache: BundleCache, labels: tuple[str, ...] = ()) -> tuple[Bundle, ...]:
    """Every container that is kept, once: its bundle, or else its runtime's state. Of annotations only `labels` are kept."""
    bundles: dict[tuple[int | None, str], Bundle] = {}
    current: dict[str, tuple[int, Bundle]] = {}
    for count, kept in enumerate(_directories(root, "run", _USERDATA), 1):
        if count > MAX_CONTAINERS:
            raise Unavailable("unsupported", f"{kept.path}: more than {MAX_CONTAINERS} containers")
        _add(root, kept, cache, labels, bundles, current)
    for uid in _users(root):
        view = root.watch()
        view.names(f"{USERS}/{uid}")
        if view.refusals:
            root.refusals += view.refusals
            continue
        directories = _directories(view, f"{USERS}/{uid}", _USERDATA_OF_USER)
        for kept in islice(directories, MAX_CONTAINERS_OF_USER):
            _add(view, kept._replace(uid=uid), cache, labels, bundles, current)
        if next(directories, None) is not None:
            view.note(f"{USERS}/{uid}", "absent", f"more than {MAX_CONTAINERS_OF_USER} containers of one user: the others have no names")
        # A user's own faults are no fault of the source: they hide nobody else's containers.
        for refusal in view.refusals:
            root.note(refusal.path, "absent", refusal.detail)
        for malformed in view.malformed:
            root.note(malformed.path or f"{USERS}/{uid}", "absent", malformed.detail)
    cache.bundles = current
    # A recording keeps the inodes that are asked for: of all of them, so that it is the same when files of it are missing.
    are_there = [root.inode(top) is not None for top in TOPS] if not root.refusals else []
    if not (bundles or root.refusals or any(are_there)):
        raise Unavailable("absent", f"no {', no '.join(TOPS)}", "nothing to do where no such runtime is")
    return tuple(bundles.values())


def _users(root: SysRoot) -> list[int]:
    """The users who may keep containers. A gap says who is logged in, or lingers, and whose directory is hidden."""
    shown = {int(name) for name in root.names(USERS) if name.isdecimal()}
    hidden = sorted({int(name) for name in root.names(LOGGED_IN) if name.isdecimal()} - shown)
    if hidden:
        more = f" and {len(hidden) - 1} more" if len(hidden) > 1 else ""
        root.note(f"{USERS}/{hidden[0]}", "denied", f"hidden, as by ProtectHome=: names and groups of this user's containers{more}")
    if len(shown) > MAX_USERS:
        root.note(USERS, "absent", f"more than {MAX_USERS} users: the containers of {len(shown) - MAX_USERS} of them have no names")
    return sorted(shown)[:MAX_USERS]


def _add(
    root: SysRoot,
    kept: _Directory,
    cache: BundleCache,
    labels: tuple[str, ...],
    bundles: dict[tuple[int | None, str], Bundle],
    current: dict[str, tuple[int, Bundle]],
) -> None:
    """Read one container, where its directory is not the one that was read before."""
    malformed = len(root.malformed)
    cached_inode, bundle = cache.bundles.get(kept.path, (None, None))
    if bundle is None or kept.inode is None or kept.inode != cached_inode:
        bundle = _bundle(root, kept, labels)
    if bundle is not None:
        bundles.setdefault((bundle.uid, bundle.id), bundle)
        # What is malformed has to be noted at each pass.
        if kept.inode is not None and len(root.malformed) == malformed:
            current[kept.path] = kept.inode, bundle


def parse_config(text: str) -> tuple[str | None, dict[str, str]]:
    """A bundle's config.json: the group's path, and the annotations."""
    config = _decoded(text)
    return _group(config.linux.cgroupsPath if config.linux else None), config.annotations or {}


def parse_runc_state(text: str) -> str | None:
    """runc's state.json: the group below the mount of v2, or of the controller cpu on v1."""
    paths = _decoded(text).cgroup_paths or {}
    path = paths.get("") or paths.get("cpu")
    if path is None or not path.startswith("/sys/fs/cgroup/"):
        return None
    below = path.removeprefix("/sys/fs/cgroup")
    return _group(below if "" in paths else "/" + below.split("/", 2)[-1])


def parse_crun_status(text: str) -> str | None:
    """crun's status."""
    return _group(_decoded(text).cgroup_path)


class _Directory(NamedTuple):
    """One container's directory: whose it is, "" where it says so itself; its inode, where that is known; the user who keeps it."""

    engine: str
    path: str
    inode: int | None
    uid: int | None = None


def _directories(root: SysRoot, run: str, userdata: str) -> Iterator[_Directory]:
    """The directories of all containers that are kept below `run` and have not ended."""
    for place in _BUNDLES:
        top = f"{run}/{place}"
        for namespace, _ in root.directory_inodes(top):
            for name, inode in root.directory_inodes(f"{top}/{namespace}"):
                yield _Directory((engine_of(namespace) or CONTAINERD).name, f"{top}/{namespace}/{name}", inode)
    kept = root.directory_inodes(f"{run}/{userdata}")
    # What has ended is kept until it is removed.
    ended = {name for exits in _EXITS for name in root.names(f"{run}/{exits}")} if kept else set()
    for name, inode in kept:
        if name not in ended:
            yield _Directory("", f"{run}/{userdata}/{name}", inode)
    for engine in STATES:
        for name, inode in root.directory_inodes(f"{run}/{engine}"):
            yield _Directory(engine, f"{run}/{engine}/{name}", inode)


def _bundle(root: SysRoot, kept: _Directory, labels: tuple[str, ...]) -> Bundle | None:
    """None where nothing is written yet, or what is written is no container's."""
    engine, directory, _, uid = kept
    id_ = printable(directory.rpartition("/")[2])
    if engine in STATES:
        group = _own_group(_parsed(root, f"{directory}/{STATES[engine]}", parse_runc_state if engine == "runc" else parse_crun_status), uid)
        return None if group is None else Bundle(id=id_, uid=uid, engine=engine, cgroup=group, runtime=engine)
    config = _parsed(root, f"{directory}/config.json" if engine else f"{directory}/userdata/config.json", parse_config, labels)
    if config is None:
        return None
    group, annotations = config
    return Bundle(
        id=id_,
        uid=uid,
        engine=engine or (engine_of(annotations.get(_MANAGER, "")) or PODMAN).name,
        cgroup=_own_group(group, uid),
        runtime=_runtime(root, directory) if engine else None,
        name=_first(annotations, _NAME),
        image=_first(annotations, _IMAGE),
        pod_name=_first(annotations, _POD_NAME),
        pod_namespace=_first(annotations, _POD_NAMESPACE),
        labels={name: printable(annotations[name]) for name in labels if name in annotations},
    )


def _own_group(path: str | None, uid: int | None) -> str | None:
    """The group that a user may speak of: one in his slice. His service manager makes slices below itself (user@.service(5))."""
    if path is None or uid is None:
        return path
    slice_ = f"/user.slice/user-{uid}.slice/"
    return path if path.startswith(slice_) else f"{slice_}user@{uid}.service{path}"


def _runtime(root: SysRoot, directory: str) -> str | None:
    """The program that containerd's shim was told to run, else the shim's own name."""
    return _program(root.text(f"{directory}/runtime")) or _program(root.text(f"{directory}/shim-binary-path"))


def _parsed(root: SysRoot, path: str, parser: Callable[[str], T], labels: tuple[str, ...] = ()) -> T | None:
    data = root.raw(path, partial(_keep, wanted=frozenset((*_WANTED, *labels))))
    if not data:
        return None
    try:
        text = data.decode("utf-8", "replace")
        if _decoded(text).left_out:
            root.note_malformed(path, Malformed("values that are not what the specification says"))
        return parser(text)
    except Malformed as error:
        root.note_malformed(path, error)
        return None


def _keep(data: bytes, wanted: frozenset[str]) -> bytes:
    """Cuts a file down to the keys that are read; a recording stores only these."""
    if not data.strip():
        return b""
    try:
        record = _decoded(data)
    except Malformed:
        return b"no JSON"
    if record.annotations:
        record = msgspec.structs.replace(record, annotations={name: value for name, value in record.annotations.items() if name in wanted})
    return msgspec.json.encode(record)


def _decoded(data: str | bytes) -> _File:
    if len(data) > MAX_BYTES:
        raise Malformed(f"larger than {MAX_BYTES >> 20} MiB")
    try:
        try:
            return msgspec.json.decode(data, type=_File)
        except msgspec.ValidationError:
            return _understood(msgspec.json.decode(data, type=dict[str, Any]))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Not what it says: there are environments in it.
        raise Malformed("expected a container's JSON") from None


def _understood(values: dict[str, Any]) -> _File:
    """A file without the values that are not of their type; of its annotations those that are texts."""
    record = _File(left_out=True)
    for part in msgspec.structs.fields(_File):
        value = values.get(part.encode_name)
        if part.name == "annotations" and isinstance(value, dict):
            value = {name: text for name, text in value.items() if isinstance(text, str)}
        with suppress(msgspec.ValidationError):
            record = msgspec.structs.replace(record, **{part.name: msgspec.convert(value, part.type)})
    return msgspec.structs.replace(record, left_out=True)


def _group(path: str | None) -> str | None:
    """ "/lab/ctr1", or systemd's "system.slice:docker:ID": /system.slice/docker-ID.scope."""
    if path is None or "\0" in path:
        return None
    if path.count(":") == 2 and not path.startswith("/"):
        slice_, prefix, name = path.split(":")
        words = slice_.removesuffix(".slice").split("-") if slice_ not in ("", "-.slice") else []
        above = "".join(f"/{'-'.join(words[:depth])}.slice" for depth in range(1, len(words) + 1))
        return printable(f"{above}/{prefix}-{name}.scope" if prefix else f"{above}/{name}.scope")
    parts = [part for part in path.split("/") if part]
    return None if not parts or "." in parts or ".." in parts else printable("/" + "/".join(parts))


def _program(text: str | None) -> str | None:
    """ "/usr/bin/containerd-shim-runsc-v1" and "/usr/local/bin/runsc" are both "runsc"."""
    name = (text or "").strip().rpartition("/")[2].removeprefix("containerd-shim-")
    stem, _, version = name.rpartition("-v")
    return printable(stem if stem and version.isdecimal() else name)[:64] or None


def _first(annotations: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((printable(annotations[name]) for name in names if annotations.get(name)), None)
