"""collectors/proc_isolation.py: this process is the judge where there is a live /proc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.model.facts.proc_isolation import Confinement, IdRange
from collectors.proc_isolation import parse_label, parse_map, read
from collectors.root import SysRoot
from collectors.root.recorder import Recorder
from collectors.text import Malformed
from tests.unit.tree import grow, malformed


def test_this_process(tmp_path: Path) -> None:
    pid = os.getpid()
    recorder = Recorder("/", tmp_path, 1.0, "test")
    found = read(recorder, [pid])
    recorder.close()
    assert found.keys() == {1, pid}
    own = found[pid]
    links = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in own.namespaces}
    assert {kind: f"{kind}:[{number}]" for kind, number in own.namespaces.items()} == links
    assert {"mnt", "net", "pid", "uts"} <= own.namespaces.keys()
    assert own.uids[0].count > 0
    assert own.capabilities is not None
    assert len(own.capabilities) == 16
    # And the recording says the same.
    assert read(SysRoot(tmp_path), [pid]) == found


def test_who_is_gone_is_left_out(tmp_path: Path) -> None:
    root = grow(tmp_path, {"proc/5/task/5/status": "Name:\tx\nSeccomp:\t9\nNoNewPrivs:\t0\n"})
    assert read(root, [5, 6]) == {5: Confinement(no_new_privileges=False)}


@pytest.mark.parametrize(
    ("path", "text", "confinement"),
    [
        ("proc/5/uid_map", "0 1 2\nx\n", Confinement(no_new_privileges=False, uids=(IdRange(0, 1, 2),), gids=(IdRange(0, 5, 6),))),
        ("proc/5/gid_map", "0 5\n", Confinement(no_new_privileges=False, uids=(IdRange(0, 1, 2),))),
        (
            "proc/5/task/5/status",
            "Name:\tx\nNoNewPrivs:\tno\nSeccomp:\t2\n",
            Confinement(seccomp="filter", uids=(IdRange(0, 1, 2),), gids=(IdRange(0, 5, 6),)),
        ),
    ],
)
def test_what_is_malformed_of_one_process_costs_no_other(tmp_path: Path, path: str, text: str, confinement: Confinement) -> None:
    one = {"task/{}/status": "Name:\tx\nNoNewPrivs:\t0\n", "uid_map": "0 1 2\n", "gid_map": "0 5 6\n"}
    files = {f"proc/{pid}/{name.format(pid)}": content for pid in (5, 6) for name, content in one.items()}
    root = grow(tmp_path, files | {path: text})
    whole = Confinement(no_new_privileges=False, uids=(IdRange(0, 1, 2),), gids=(IdRange(0, 5, 6),))
    assert read(root, [5, 6]) == {5: confinement, 6: whole}
    assert malformed(root) == [path]


def test_small_texts() -> None:
    assert parse_label("unconfined\n") == "unconfined"
    assert parse_label("") is None
    assert parse_map("         0       1000          1\n         1     100000      65536\n") == (
        IdRange(0, 1000, 1),
        IdRange(1, 100000, 65536),
    )


@pytest.mark.parametrize("text", ["0 1\n", "a b c\n", "0 0 -1\n", "0 0 1\n" * 400])
def test_broken_maps(text: str) -> None:
    with pytest.raises(Malformed):
        parse_map(text)
