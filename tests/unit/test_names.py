"""Which workload a word means, and the word that views and errors print: it means the same workload when it is typed again."""

from __future__ import annotations

import random
import shlex
import time
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from agent.cli import build_parser
from agent.cli.workload import one_workload
from agent.model.facts.cgroup import Pod
from agent.model.names import LONGEST, index
from agent.model.sandbox import Published, Statement
from agent.model.values import safe
from agent.model.workload import Workload
from exporters.views.words import FIRM, command
from tests.unit.overhead_hosts import container, machine, sandbox
from tests.unit.told import HOSTILE
from tests.validation.random_hosts import windows

BOX, GUEST, WASM = container(), machine(), sandbox()
POD = Pod("5f3a1c00-77d2-4c41-9b1e-2f64d0c8a017", "burstable", "shop-7d9c5b-xk2p4", "prod")


def named(workload: Workload, name: str, digits: str, **changes: object) -> Workload:
    """With a name, and an id of 64 digits that begin so; its threads are numbered otherwise than those of the others."""
    number = 1000 + int(digits, 16)
    threads = tuple(replace(thread, tid=number) for thread in workload.threads[:1])
    id_ = digits.ljust(64, "0") if workload.paradigm == "containerization" else f"{workload.id}/{digits}"
    return replace(workload, name=name, id=id_, pid=number, threads=threads, vcpus=(), **changes)


def stating(workload: Workload, *instances: str) -> Workload:
    """As its embedder publishes its instances: the first of a memory, the others of none."""
    statements = tuple(Statement(instance=instance, base="0x7f0000000000") for instance in instances)
    (memory,) = workload.memories
    memories = (replace(memory, stated=statements[:1]),)
    return replace(workload, memories=memories, published=Published(len(statements), elsewhere=statements[1:]))


WEB = named(BOX, "web", "aa", runtime="docker")
WEB_MACHINE = named(GUEST, "web", "ab", runtime="kvm")
NGINX = named(BOX, "nginx.service", "ac", paradigm="process", runtime="systemd", cgroup="/system.slice/nginx.service")
MOUNT = named(BOX, r"data\x2dbase.service", "ad", paradigm="process", runtime="systemd")
APP = named(BOX, "app", "bc", runtime="cri-o", pod=POD)
SIDECAR = named(BOX, "log", "bd", runtime="cri-o", pod=POD)
EMBEDDER = stating(named(WASM, "python3", "ae", runtime="wasmtime"), "thumbnails", "resize")
OTHER_EMBEDDER = stating(named(WASM, "python3", "af", runtime="wasmtime"), "checkout")
HOST = (WEB, WEB_MACHINE, NGINX, MOUNT, APP, SIDECAR, EMBEDDER, OTHER_EMBEDDER)


@pytest.mark.parametrize(
    ("word", "ids"),
    [
        ("c0ffee", ["c0ffee"]),
        ("c0", ["c0ffee"]),
        ("C0FFEE", ["c0ffee"]),
        ("vm", ["vm"]),
        ("11", ["c0ffee"]),
        ("21", ["vm"]),
        ("31", ["wasm"]),
        ("w", ["wasm"]),
        ("", []),
        (":", []),
        ("container:", []),
        ("x", []),
        ("99999999999", []),
        ("٣", []),
    ],
)
def test_who_is_meant(word: str, ids: list[str]) -> None:
    assert [workload.id for workload in index((BOX, GUEST, WASM)).matching(word)] == ids


@pytest.mark.parametrize(
    ("word", "workloads"),
    [
        ("web", (WEB, WEB_MACHINE)),
        ("container:web", (WEB,)),
        ("containerization:web", (WEB,)),
        ("docker:web", (WEB,)),
        ("machine:web", (WEB_MACHINE,)),
        ("vm:web", (WEB_MACHINE,)),
        ("virtualization:web", (WEB_MACHINE,)),
        ("sandbox:web", ()),
        ("podman:web", ()),
        ("nginx", (NGINX,)),
        ("nginx.service", (NGINX,)),
        ("process:nginx", (NGINX,)),
        ("/system.slice/nginx.service", (NGINX,)),
        ("data-base", (MOUNT,)),
        (r"data\x2dbase.service", (MOUNT,)),
        ("app", (APP,)),
        ("shop-7d9c5b-xk2p4/app", (APP,)),
        ("prod/shop-7d9c5b-xk2p4/log", (SIDECAR,)),
        ("test/shop-7d9c5b-xk2p4/log", ()),
        ("shop-7d9c5b-xk2p4", (APP, SIDECAR)),
        ("prod/shop-7d9c5b-xk2p4", (APP, SIDECAR)),
        (POD.uid, (APP, SIDECAR)),
        (f"cri-o://{APP.id}", (APP,)),
        (f"containerd://{APP.id}", (APP,)),
        ("resize", (EMBEDDER,)),
        ("thumbnails", (EMBEDDER,)),
        ("sandbox:checkout", (OTHER_EMBEDDER,)),
        ("wasmtime:python3", (EMBEDDER, OTHER_EMBEDDER)),
        (str(EMBEDDER.pid), (EMBEDDER,)),
        ("bc0", (APP,)),
        ("bc".ljust(12, "0"), (APP,)),
        ("shop-7d9c5b", (APP, SIDECAR)),
        ("thumb", ()),
    ],
)
def test_every_name_that_a_person_uses(word: str, workloads: tuple[Workload, ...]) -> None:
    assert index(HOST).matching(word) == workloads


def test_of_a_number_the_innermost_is_meant_and_the_same_name_is_not_clear() -> None:
    inner = replace(WASM, parent="c0ffee", threads=BOX.threads)
    names = index((BOX, inner))
    assert [workload.id for workload in names.matching("11")] == ["wasm"]
    assert [workload.id for workload in names.matching("container:11")] == ["c0ffee"]
    twins = index((BOX, replace(BOX, id="c0ffee2", name="c0ffee")))
    assert len(twins.matching("c0f")) == 2
    assert len(twins.matching("c0ffee")) == 1


@pytest.mark.parametrize("instance", ["web", "nginx", "1187", "container:web", WEB.id[:12]])
def test_what_an_embedder_publishes_takes_no_name_from_another(instance: str) -> None:
    """An instance may be called as its owner likes: whoever asks for a container or a unit of that name still gets it."""
    before, after = index((WEB, NGINX)), index((WEB, NGINX, stating(WASM, instance)))
    if before.matching(instance):
        assert after.matching(instance) == before.matching(instance) or instance == WEB.id[:12]
    assert [after.word_for(workload) for workload in (WEB, NGINX)] == ["web", "nginx.service"]


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("wbe", ["container:web"]),
        ("Nginx", ["nginx"]),
        ("ngnix.service", ["nginx.service"]),
        ("container:nginxx", ["nginx"]),
        ("resise", ["resize"]),
        ("chekout", ["checkout"]),
        ("shop-7d9c5b-xk2p4/apq", ["shop-7d9c5b-xk2p4/app"]),
    ],
)
def test_a_typo_gets_the_nearest_names(word: str, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        one_workload(HOST, word)
    assert end.value.code == 2
    first, *rows = capsys.readouterr().err.splitlines()
    assert first == f"agent: {word}: no such workload; the nearest names:"
    assert 1 <= len(rows) <= 3
    assert [shlex.split(row)[0] for row in rows][: len(shown)] == shown


def test_an_ambiguity_lists_a_word_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    for word, shown in (("web", ["container:web", "machine:web"]), ("python3", ["1174", "1175"]), ("shop-7d9c5b-xk2p4", ["app", "log"])):
        with pytest.raises(SystemExit) as end:
            one_workload(HOST, word)
        assert end.value.code == 2
        first, *rows = capsys.readouterr().err.splitlines()
        assert first == f"agent: {word} matches 2 workloads:"
        assert [shlex.split(row)[0] for row in rows] == shown
        assert [one_workload(HOST, shlex.split(row)[0]) for row in rows] == list(index(HOST).matching(word))


def test_containers_of_one_name_are_told_apart_by_pod_and_by_engine() -> None:
    other = replace(POD, name="shop-7d9c5b-zz999")
    twins = (APP, named(BOX, "app", "be", runtime="cri-o", pod=other), named(BOX, "app", "bf", runtime="podman"))
    assert [index(twins).word_for(twin) for twin in twins] == ["shop-7d9c5b-xk2p4/app", "shop-7d9c5b-zz999/app", "podman:app"]
    same_pod_name = (APP, replace(twins[1], pod=replace(POD, namespace="test")))
    assert [index(same_pod_name).word_for(twin) for twin in same_pod_name] == [
        "prod/shop-7d9c5b-xk2p4/app",
        "test/shop-7d9c5b-xk2p4/app",
    ]


HOSTILE_NAMES = (
    "two words",
    'it\'s "quoted" $(reboot) `reboot` ;|&!*?~#',
    "one\ntwo\r\n",
    "-rf",
    "--without",
    "--",
    "x" * 200,
    "\x1b]0;title\x07\x1b[31mred",
    HOSTILE,
    "container:web",
    "machine:",
    "://",
    "4711",
    "\\x1b",
    " ",
    "é鲸🐳",
    "web",
)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_do_nothing_and_still_work(name: str) -> None:
    workload = named(BOX, name, "aa1")
    names = index((workload, WEB_MACHINE, NGINX))
    printed(names.workloads)
    assert workload in names.matching(name)
    assert workload in names.matching(safe(name))


def printed(workloads: Sequence[Workload]) -> None:
    """Each word, as it is printed in a command of any width and read by a shell and by the verb, means its workload alone."""
    names, parser = index(workloads), build_parser()
    for workload in workloads:
        word = names.word_for(workload)
        assert word.isprintable()
        assert len(word) <= LONGEST or len(workload.id) > LONGEST
        for width in (40, 80, 1000):
            text = command(("agent", "what-if", word, "--pin", "0-3", f"--without={word}"), width).plain.replace(FIRM, " ")
            # As shells continue a line: to shlex the end of it is a part of the next word.
            _, *arguments = shlex.split(text.replace("\\\n", ""))
            parsed = parser.parse_args(arguments)
            assert names.matching(parsed.workload) == names.matching(*parsed.without) == (workload,)
        parsed = parser.parse_args(["what-if", "x", "--cpus", "1", *shlex.split(f"--without {shlex.quote(word)}")])
        assert names.matching(*parsed.without) == (workload,)


def test_the_word_for_a_workload_means_it_on_random_hosts() -> None:
    for seed in range(20):
        window, _, _ = next(windows(seed))
        printed(window.after.workloads)
    for seed in range(60):
        chance = random.Random(seed)
        printed([_random_workload(chance, number) for number in range(chance.randint(1, 12))])


def _random_workload(chance: random.Random, number: int) -> Workload:
    """Named as others are, after others' numbers, ids and kinds; and stating instances that are called so, too."""
    words = (*HOSTILE_NAMES, "aa0", "aa".ljust(64, "0"), f"{1000 + 0xAA0}", "sandbox:web", "podman:web", "shop/web", "")
    workload = named(chance.choice((BOX, GUEST, WASM)), chance.choice(words), f"aa{number:x}", runtime=chance.choice(("docker", "podman")))
    if workload.memories:
        workload = stating(workload, *chance.sample(words, 3))
    if chance.random() < 0.4:
        workload = replace(workload, pod=Pod(chance.choice("ab"), "burstable", chance.choice(("shop", "web")), chance.choice("ab")))
    return replace(workload, pid=None if chance.random() < 0.3 else workload.pid)


def test_five_thousand_workloads_of_one_name_have_words_in_seconds() -> None:
    many = [named(BOX, "web", f"{0x10000 + number:x}") for number in range(5000)]
    began = time.process_time()
    names = index(many)
    words = {names.word_for(workload) for workload in many}
    assert len(words) == 5000
    assert time.process_time() - began < 5
