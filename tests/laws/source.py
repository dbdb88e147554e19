"""The files of this tree, parsed once, and what the names in them stand for."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from tests.need import TOP, need

PRODUCT = ("agent", "collectors", "exporters")
# What may stand at the top of the tree.
TOPS = {
    *(
        ".ci",
        ".gitignore",
        ".pre-commit-config.yaml",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "SECURITY.md",
        "build.lock",
        "deploy",
        "docs",
        "pyproject.toml",
        "runtime.lock",
        "test.lock",
        "tests",
    ),
    *PRODUCT,
}
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def files() -> tuple[str, ...]:
    """The files of the tree: those that git lists or would add, where this is a checkout."""
    if (TOP / ".git").exists():
        need("git")
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True, timeout=60).stdout
        return tuple(sorted({name for name in listed.split("\0") if name and (TOP / name).exists()}))
    return tuple(sorted(str(path.relative_to(TOP)) for top in TOPS for path in (TOP / top, *(TOP / top).rglob("*")) if path.is_file()))


@cache
def modules(*rooms: str) -> dict[str, ast.Module]:
    """The syntax trees of the Python files below these directories, by path: of the product where none is named."""
    below = tuple(f"{room}/" for room in rooms or PRODUCT)
    return {name: parsed(name) for name in files() if name.startswith(below) and name.endswith(".py")}


@cache
def parsed(path: str) -> ast.Module:
    return ast.parse((TOP / path).read_text(), path)


def dotted(node: ast.AST) -> str:
    """A name with its attributes, as it is written: `os.path.join`; "?" stands for what is neither."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def block(node: ast.AST) -> list[ast.AST]:
    """The statements directly below a node: faster than all of its children, of which most are expressions."""
    return [part for field in ("body", "handlers", "cases", "orelse", "finalbody") for part in getattr(node, field, ())]


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement of a module, however deep."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        waiting += block(node := waiting.pop())
        yield node


def module_name(path: str) -> str:
    """What a file is imported as: `collectors/cgroup/__init__.py` is `collectors.cgroup`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(path: str, tree: ast.Module) -> dict[str, str]:
    """What the imported names of a module stand for, as full dotted names; imports inside functions count, too."""
    package = module_name(path).split(".") if path.endswith("/__init__.py") else module_name(path).split(".")[:-1]
    names: dict[str, str] = {}
    for node in statements(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*parents, *filter(None, [node.module])])
            names |= {alias.asname or alias.name: f"{origin}.{alias.name}" for alias in node.names}
    return names


class Record(NamedTuple):
    """A class of values: a msgspec Struct, a NamedTuple or a dataclass. Fields are by name, with their annotations."""

    path: str
    fields: dict[str, str]
    positional: int
    kind: str


class Names:
    """Resolves names to full dotted names, through the imports and assignments of the modules that it was given."""

    def __init__(self, trees: dict[str, ast.Module]) -> None:
        self.scopes: dict[str, dict[str, str]] = {}
        self.classes: dict[str, tuple[str, ast.ClassDef]] = {}
        for path, tree in trees.items():
            module = module_name(path)
            scope = self.scopes[module] = imports(path, tree)
            for prefix, node in _definitions(tree):
                self.classes[f"{module}.{prefix}{node.name}"] = (path, node)
                scope.setdefault(f"{prefix}{node.name}", f"{module}.{prefix}{node.name}")
            for statement in tree.body:
                if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Name | ast.Attribute):
                    scope |= {dotted(target): f"{module}.{dotted(statement.value)}" for target in statement.targets}

    def resolve(self, name: str, module: str, depth: int = 0) -> str:
        """The full name of what is written as `name` in a module, through re-exports; as written, where nothing here defines it."""
        if (full := f"{module}.{name}") in self.classes:
            return full
        first, _, rest = name.partition(".")
        if first not in self.scopes.get(module, {}):
            return full if depth else name
        full = ".".join([self.scopes[module][first], *filter(None, [rest])])
        owner, inner = self._split(full)
        return self.resolve(inner, owner, depth + 1) if owner and inner and depth < 20 else full

    def _split(self, full: str) -> tuple[str, str]:
        """The longest module at the front of a full name, and the rest."""
        parts = full.split(".")
        for count in range(len(parts), 0, -1):
            if (module := ".".join(parts[:count])) in self.scopes:
                return module, ".".join(parts[count:])
        return "", full


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class of a module, with the names of the classes that it stands in; those inside functions by their own name."""
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        prefix, parent = waiting.pop()
        for node in block(parent):
            if isinstance(node, ast.ClassDef):
                yield prefix, node
                waiting.append((f"{prefix}{node.name}.", node))
            else:
                waiting.append(("" if isinstance(node, FunctionNode) else prefix, node))


def records(names: Names) -> dict[str, Record]:
    """Every record of these modules by its full name, with the fields that it inherits."""
    return {full: record for full in names.classes if (record := _record(full, names))}


def neighbours(fields: dict[str, str]) -> list[tuple[str, str]]:
    """Fields of one type, each with the next one of that type."""
    return [pair for kind in dict.fromkeys(fields.values()) for pair in pairwise(field for field in fields if fields[field] == kind)]


def _record(full: str, names: Names) -> Record | None:
    path, node = names.classes[full]
    module = module_name(path)
    fields: dict[str, str] = {}
    kind, positional = _kind(node, module, names), 0
    for base in node.bases:
        name = names.resolve(dotted(base), module)
        if name in names.classes and name != full and (parent := _record(name, names)):
            kind, positional = kind or parent.kind, positional + parent.positional
            fields |= parent.fields
    if kind is None:
        return None
    own = {dotted(field.target): ast.unparse(field.annotation) for field in node.body if isinstance(field, ast.AnnAssign)}
    own = {name: annotation for name, annotation in own.items() if "ClassVar" not in annotation}
    return Record(path, fields | own, positional + (0 if _option(node, "kw_only") else len(own)), kind)


def _kind(node: ast.ClassDef, module: str, names: Names) -> str | None:
    bases = {names.resolve(dotted(base), module) for base in node.bases}
    decorators = {names.resolve(dotted(_called(decorator)), module) for decorator in node.decorator_list}
    for kind, full in (("Struct", "msgspec.Struct"), ("NamedTuple", "typing.NamedTuple"), ("dataclass", "dataclasses.dataclass")):
        if full in bases | decorators:
            return kind
    return None


def _called(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def is_frozen(full: str, names: Names) -> bool:
    """Whether a class is a record whose fields cannot be assigned."""
    path, node = names.classes[full]
    bases = [names.resolve(dotted(base), module_name(path)) for base in node.bases]
    inherits = any(base in names.classes and is_frozen(base, names) for base in bases)
    return inherits or _option(node, "frozen") or "typing.NamedTuple" in bases


def _option(node: ast.ClassDef, name: str) -> bool:
    """Whether a class, or a decorator of it, is given `name=True`."""
    calls = [decorator for decorator in node.decorator_list if isinstance(decorator, ast.Call)]
    options = [*node.keywords, *(option for call in calls for option in call.keywords)]
    return any(option.arg == name and ast.unparse(option.value) == "True" for option in options)
