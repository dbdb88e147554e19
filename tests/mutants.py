"""`make mutants ARGS="COUNT SEED"`: faults planted one at a time in copies of this tree: do tests/unit and the goldens find them?

Half exchange two fields of one type of a record, the others change an operator. A survivor is printed as a difference, to be judged.
"""

import ast
import difflib
import random
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

import grimp

from tests.laws.source import PRODUCT, Names, module_name, modules, neighbours, records
from tests.need import TOP

ROOMS = ("agent/normalise", "collectors/cgroup", "exporters/metrics")
NEAR = ("tests/unit/test_normalise.py", "tests/unit/test_metrics.py", "tests/hosts/test_golden.py")
PYTEST = ["-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--hypothesis-profile=check", "--tb=no"]
_PAIRS = ("Add Sub", "Mult FloorDiv", "Div Mult", "Lt LtE", "Gt GtE", "Eq NotEq", "Is IsNot", "In NotIn", "And Or")
OPERATORS = {old: getattr(ast, new) for pair in _PAIRS for old, new in (pair.split(), pair.split()[::-1])}
NAMES = Names(modules(*PRODUCT))
RECORDS = records(NAMES)
PAIRS = {pair for record in RECORDS.values() for pair in neighbours(record.fields)}
NEXT = {field: [after for before, after in PAIRS if before == field] for field, _ in PAIRS}
GRAPH = grimp.build_graph(*PRODUCT, "tests")


def mutants(path: str, tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Kind, path and text of each. A field that is read is exchanged where it has the same neighbour in all records."""
    # Until Python 3.12, what is in an f-string has no place.
    strings = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in (node for node in ast.walk(tree) if node not in strings):
        if isinstance(node, ast.Call) and (record := RECORDS.get(NAMES.resolve(ast.unparse(node.func), module_name(path)))):
            values = dict(zip(record.fields, node.args, strict=False)) | {word.arg: word.value for word in node.keywords if word.arg}
            given = {field: kind for field, kind in record.fields.items() if field in values}
            for one, other in ((values[field], values[following]) for field, following in neighbours(given)):
                if ast.dump(one) != ast.dump(other):
                    yield "swap", path, edited(path, {one: ast.unparse(other), other: ast.unparse(one)})
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and len(after := NEXT.get(node.attr, [])) == 1:
            yield "swap", path, edited(path, {node: f"{ast.unparse(node.value)}.{after[0]}"})
        elif isinstance(node, ast.BinOp | ast.BoolOp | ast.Compare):
            ops = node.ops if isinstance(node, ast.Compare) else [node.op]
            if operator := OPERATORS.get(type(ops[0]).__name__):
                vars(changed := ast.parse(ast.unparse(node), mode="eval").body).update(ops=[operator(), *ops[1:]], op=operator())
                yield "operator", path, edited(path, {node: f"({ast.unparse(changed)})"})


def edited(path: str, edits: dict[ast.expr, str]) -> str:
    text = (TOP / path).read_bytes()
    starts = [0, *accumulate(map(len, text.splitlines(keepends=True)))]
    for old, new in sorted(edits.items(), key=lambda edit: (edit[0].lineno, edit[0].col_offset), reverse=True):
        begin, end = starts[old.lineno - 1] + old.col_offset, starts[(old.end_lineno or 0) - 1] + (old.end_col_offset or 0)
        text = text[:begin] + new.encode() + text[end:]
    return text.decode()


def passes(tests: list[str], tree: Path) -> bool:
    code = subprocess.run([sys.executable, *PYTEST, *tests], cwd=tree, stdout=subprocess.DEVNULL, check=False).returncode
    # 1: a test fails. 2: a test's module cannot be imported. What is above says nothing of the mutant.
    if code not in (0, 1, 2):
        raise SystemExit(f"mutants: pytest cannot run here ({code}): pytest {' '.join(tests)}")
    return code == 0


def judge(drawn: list[tuple[int, tuple[str, str, str]]], tree: Path) -> None:
    for at, (kind, path, text) in drawn:
        users = sorted(f"{name.replace('.', '/')}.py" for name in GRAPH.find_downstream_modules(module_name(path)))
        tests = [test for test in users if test.startswith("tests/unit/test_") or test in NEAR]
        near = [test for test in tests if Path(path).stem in test] + [test for test in NEAR if test in tests]
        (tree / path).write_text(text)
        survives = all(passes(step, tree) for step in (near, [test for test in tests if test not in near]) if step)
        shutil.copy(TOP / path, tree / path)
        lines = difflib.unified_diff((TOP / path).read_text().splitlines(), text.splitlines(), n=1, lineterm="")
        print(at, kind, path, "\n".join(("SURVIVES", *lines)) if survives else "killed", flush=True)


def main(number: int, seed: int) -> None:
    print(f"{number} mutants, drawn by seed {seed}", flush=True)
    chance, pools = random.Random(seed), defaultdict(list)
    for mutant in (mutant for path, tree in modules(*ROOMS).items() for mutant in mutants(path, tree)):
        pools[mutant[0], next(room for room in ROOMS if mutant[1].startswith(room))].append(mutant)
    drawn = [mutant for pool in sorted(pools) for mutant in chance.sample(pools[pool], min(len(pools[pool]), number // len(pools)))]
    with tempfile.TemporaryDirectory() as top, ThreadPoolExecutor(2) as workers:
        ignore = shutil.ignore_patterns(".*", "__pycache__")
        trees = [shutil.copytree(TOP, Path(top, name), symlinks=True, ignore=ignore) for name in ("a", "b")]
        if not passes(["tests/unit", *NEAR], trees[0]):
            raise SystemExit("mutants: tests fail where no fault is planted")
        list(workers.map(judge, (list(enumerate(drawn))[half::2] for half in (0, 1)), trees))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]), *(216, random.randrange(1 << 30))[len(sys.argv) - 1 :])
