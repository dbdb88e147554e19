"""What outlives a pass has one home, agent/session.py: no reader, door or join remembers by itself.

In the rooms that read and join, nothing is memoised but what INTERNED lists; elsewhere memos are bounded, and of functions of a module, or
they end with the object that has them. Nowhere does a function change a name of a module, or the object that such a name stands for; no
class but a record holds a container that its instances share. Of the objects that change after they are made, caches are fields of the
session's and made there alone; the others are listed, with what they are a part of.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.laws.offenders import check
from tests.laws.source import PRODUCT, FunctionNode, Names, dotted, imports, is_frozen, module_name, modules, records

READERS = ("collectors/", "agent/collect/", "agent/normalise/", "agent/cli/", "agent/service.py", "agent/session.py")
MEMOS = {"functools.cache", "functools.lru_cache", "functools.cached_property"}
# Bounded memos of pure functions of texts and numbers: they say nothing of a host, and would be as right on another.
INTERNED = {
    "collectors/root/opening.py _openat2": "a function of the C library",
    "collectors/text.py cpu_list": "a CpuSet by its text",
}
# State of a process, not of a reader, and why.
OWN_PROCESS = {"collectors/wasm_stats/embedder.py _made": "the library of an embedder: its memfd is one a process, whoever publishes in it"}
# Who makes caches beside the session's, and why.
MADE = {
    "agent/calibrate/run.py agent.collect.caches.Caches": "one pass of its own",
    "agent/service.py agent.collect.caches.Caches": "gives the session's to it with a socket, as only a daemon listens",
}
# What changes after it is made and is no cache: what it is a part of, or how long it lives.
CHANGING = {
    "agent.collect.ask.Pass": "one pass",
    "agent.collect.background.BackgroundQueries": "of Caches",
    "agent.collect.background.Query": "of BackgroundQueries",
    "agent.collect.hung.HungReads": "of Caches",
    "agent.service.Service": "the pass that is running",
    "agent.session.Session": "the home",
    "collectors.cgroup.held.HeldDirectories": "of CgroupCache",
    "collectors.cgroup.held.HeldDirectory": "of HeldDirectories",
    "collectors.cgroup.pointed_out.PointedOut": "one pass",
    "collectors.libvirt_connection.Connections": "of DomainCache",
    "collectors.libvirt_domains._Definitions": "one pass",
    "collectors.libvirt_stats.DomainQueries": "of StatsCache",
    "collectors.proc_pid.status.Status": "one text",
    "collectors.root.budget.Budget": "one pass",
    "collectors.root.door.SysRoot": "what one pass was refused and did not understand, and when it read",
    "collectors.root.reads.Reads": "one pass",
    "collectors.root.recorder.Recorder": "one recording that is being written",
    "collectors.root.recording.Mark": "of a Recorder",
    "agent.normalise.plausible._LeftOut": "one sample",
    "collectors.text.MalformedLines": "one text",
    "collectors.uevents.UeventSocket": "of Caches",
    "collectors.wasm_maps.explanation.RunReader": "one search of one map",
    "collectors.wasm_stats.embedder.Slot": "of the embedder",
    "collectors.wasm_stats.embedder._Table": "of the embedder",
}
CONTAINERS = {
    *("Counter", "OrderedDict", "WeakKeyDictionary", "WeakSet", "WeakValueDictionary", "bytearray", "defaultdict", "deque"),
    *("dict", "list", "set"),
}
WRITERS = {
    *("add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "move_to_end", "pop", "popitem", "popleft"),
    *("remove", "setdefault", "sort", "update", "__setitem__", "__delitem__", "__setattr__"),
}


def test_nothing_is_memoised() -> None:
    found = [(path, function, bounded) for path, tree in modules().items() for function, bounded in memos(path, tree)]
    kept = {f"{path} {function}" for path, function, bounded in found if path.startswith(READERS) or not bounded}
    check(kept, INTERNED.keys())


def test_nothing_of_a_module_changes() -> None:
    check({f"{path} {name}" for path, tree in modules().items() for name in changed(tree)}, OWN_PROCESS)


def test_no_class_holds_a_container_that_its_instances_share() -> None:
    names = Names(modules())
    values = records(names)
    plain = {full: node for full, (_, node) in names.classes.items() if full not in values}
    fields = [(full, field) for full, node in plain.items() for field in node.body if isinstance(field, ast.Assign | ast.AnnAssign)]
    check({f"{full} {ast.unparse(field)}" for full, field in fields if is_container(field.value) and "__slots__" not in ast.unparse(field)})


def test_caches_are_the_session_s() -> None:
    names = Names(modules())
    caches = {full for full in mutable(names) if full.endswith(("Cache", "Caches"))}
    homes = [names.classes["agent.session.Session"], names.classes["agent.collect.caches.Caches"]]
    fields = [(path, ast.unparse(field.annotation)) for path, node in homes for field in node.body if isinstance(field, ast.AnnAssign)]
    assert caches == {names.resolve(kind, module_name(path)) for path, kind in fields if kind.endswith(("Cache", "Caches"))}
    used = {
        f"{path} {full}"
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for made in (node.func, *(option.value for option in node.keywords if option.arg == "default_factory"))
        if (full := names.resolve(dotted(made), module_name(path))) in caches
    }
    check({place for place in used if place.partition(" ")[0] not in {path for path, _ in homes}}, MADE)


def test_what_changes_has_a_home() -> None:
    names = Names(modules())
    readers = {full for full in mutable(names) if names.classes[full][0].startswith(READERS)}
    check({full for full in readers if not full.endswith(("Cache", "Caches"))}, CHANGING)


def test_the_door_keeps_only_what_a_pass_is_told() -> None:
    names = Names(modules())
    assert changed_attributes(names.classes["collectors.root.door.SysRoot"][1]) == {"malformed", "read_times", "refusals"}


@pytest.mark.parametrize(
    "source",
    [
        "x = {}\ndef f(): x['a'] = 1",
        "x = {}\ndef f(): x.setdefault('a', []).append(1)",
        "x = []\ndef f():\n def g(): x.append(1)\n return g",
        "x = []\nclass C:\n def f(self): x.append(self)",
        "x = 0\ndef f():\n global x\n x += 1",
        "def f(): f.cache = 1",
        "from agent import session\ndef f(): session.answers['a'] = 1",
        "class C: pass\ndef f(): C.known = 1",
        "class C:\n def f(self): type(self).known = 1",
        "class C:\n def f(self): self.__class__.known.append(1)",
        "x = {}\ndef f(y): del x[y]",
    ],
)
def test_a_change_is_found(source: str) -> None:
    assert list(changed(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "x = {}\nx['a'] = 1",
        "x = {}\ndef f(x): x['a'] = 1",
        "x = {}\ndef f():\n x = []\n x.append(1)",
        "import os\ndef f(): os.remove('x')",
        "class C:\n def f(self): self.x = 1",
        "x = {}\ndef f(): return x.get('a')",
    ],
)
def test_what_changes_no_module_is_not(source: str) -> None:
    assert list(changed(ast.parse(source))) == []


def mutable(names: Names) -> set[str]:
    """The classes whose objects change after they are made, or may."""
    values = records(names)
    plain = {full: node for full, (_, node) in names.classes.items() if not is_frozen(full, names)}
    return {full for full, node in plain.items() if full in values or changed_attributes(node) or makes_containers(node)}


def makes_containers(node: ast.ClassDef) -> bool:
    """Whether an object of the class is made with a container in it."""
    return any(is_container(part.value) for part in ast.walk(node) if isinstance(part, ast.Assign | ast.AnnAssign) and is_own(part))


def is_own(node: ast.Assign | ast.AnnAssign) -> bool:
    return any(dotted(target).startswith("self.") for target in (node.targets if isinstance(node, ast.Assign) else [node.target]))


def changed_attributes(node: ast.ClassDef) -> set[str]:
    """The attributes that the methods of a class assign, or change in place, after its objects are made."""
    methods = [method for method in node.body if isinstance(method, FunctionNode) and method.name != "__init__"]
    parts = [part for method in methods for part in ast.walk(method)]
    assigned = {dotted(part) for part in parts if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store | ast.Del)}
    chains = {ast.unparse(target) for part in parts for target in written(part)}
    names = {name for name in assigned | chains if name.startswith("self.")}
    return {re.split(r"[.\[]", name)[1] for name in names}


def memos(path: str, tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """What is memoised, by the name of the function, else by the line; whether it is bounded or ends with its object."""
    names, module = Names({path: tree}), module_name(path)
    decorated = {}
    for node in (node for node in ast.walk(tree) if isinstance(node, FunctionNode)):
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
            sizes = [ast.unparse(size) for size in (*call.args, *(option.value for option in call.keywords))]
            of_object = names.resolve(dotted(call.func), module) == "functools.cached_property"
            decorated[id(call.func)] = node.name, of_object or (node in tree.body and len(sizes) == 1 and sizes != ["None"])
    for part in ast.walk(tree):
        if isinstance(part, ast.Name | ast.Attribute) and names.resolve(dotted(part), module) in MEMOS:
            yield decorated.get(id(part), (f"line {part.lineno}", False))


def changed(tree: ast.Module) -> Iterator[str]:
    """Where functions change what a name of the module stands for, or the name itself."""
    own = {name for statement in tree.body for name in bound(statement)}
    foreign = {name for name, full in imports("x.py", tree).items() if not full.startswith(PRODUCT)}
    waiting: list[tuple[frozenset[str] | None, ast.AST]] = [(None, tree)]
    while waiting:
        local, node = waiting.pop()
        if isinstance(node, FunctionNode | ast.Lambda):
            local = (local or frozenset()) | locals_of(node)
        waiting += [(local, child) for child in ast.iter_child_nodes(node)]
        if local is None:
            continue
        if isinstance(node, ast.Global):
            yield ", ".join(node.names)
        for target in written(node):
            name = root_of(target)
            if name == "type(self)" or (name in own and name not in local and name not in foreign):
                yield ast.unparse(target)


def written(node: ast.AST) -> Iterator[ast.expr]:
    """What an assignment, a deletion or a call of a changing method writes into: `a.b` of `a.b["c"] = 1` and of `a.b.append(1)`."""
    if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
        yield node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITERS:
        yield node.func.value


def root_of(node: ast.expr) -> str:
    """The name that a chain of attributes, subscripts and calls begins with."""
    while not isinstance(node, ast.Name):
        match node:
            case ast.Call(func=ast.Name("type"), args=[ast.Name("self" | "cls")]) | ast.Attribute(value=ast.Name("self"), attr="__class__"):
                return "type(self)"
            case ast.Attribute(value=value) | ast.Subscript(value=value):
                node = value
            case ast.Call(func=ast.Attribute(value=value, attr="setdefault" | "get")):
                node = value
            case _:
                return "?"
    return node.id


def bound(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds where it stands."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, FunctionNode | ast.ClassDef):
            yield part.name
        elif isinstance(part, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in part.names)
        elif isinstance(part, ast.Name):
            if isinstance(part.ctx, ast.Store):
                yield part.id
        elif not isinstance(part, ast.Lambda):
            waiting += ast.iter_child_nodes(part)


def locals_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    names = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    return names if isinstance(node, ast.Lambda) else names | {name for statement in node.body for name in bound(statement)}


def is_container(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return dotted(value.func).rpartition(".")[2] in CONTAINERS
    return isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp)
