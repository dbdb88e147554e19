"""The documents: links lead somewhere, and commands, options, targets and files that they name exist."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from functools import cache

import pytest

from agent.cli import build_parser
from exporters.metrics.catalogue import METRICS
from tests.lab.full_image import install_commands
from tests.need import TOP

DOCUMENTS = sorted(str(path.relative_to(TOP)) for path in (*TOP.glob("*.md"), *(TOP / "docs").glob("*.md")))
README_LINES = 200
ROOMS = ("agent", "collectors", "exporters", "tests", "deploy", "docs")
# Options of other programs.
OTHERS = {"--system-site-packages", "--update-golden"}


@cache
def text(name: str) -> str:
    return (TOP / name).read_text()


def code(name: str) -> Iterator[str]:
    """Lines of code blocks, without comments, and code in sentences."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text(name), re.MULTILINE | re.DOTALL):
        if language == "sh":
            yield from (line.partition(" #")[0].strip() for line in block.splitlines())
    yield from spans(name)


def spans(name: str) -> list[str]:
    return re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text(name), flags=re.MULTILINE | re.DOTALL))


@cache
def options() -> dict[str, set[str]]:
    """Of each verb."""
    (verbs,) = [action.choices for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: {option for action in verb._actions for option in action.option_strings} for name, verb in verbs.items()}


def test_readme_is_short() -> None:
    assert len(text("README.md").splitlines()) <= README_LINES


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text(name)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (TOP / name).parent / path if path else TOP / name
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}, link


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_and_options_exist(name: str) -> None:
    verbs = options()
    for line in code(name):
        for verb, rest in re.findall(r"(?:^|/|\s)agent (?!agent\b)([a-z][a-z-]*)((?: [^|>;]*)?)", line):
            assert verb in verbs, line
            for option in re.findall(r"(?<!\S)--[a-z][\w.-]*", rest):
                assert option in verbs[verb], line
    every = {option for verb in verbs.values() for option in verb} | OTHERS | {"--help", "--version"}
    for span in spans(name):
        if span.startswith("--"):
            assert span.split()[0] in every, span


@pytest.mark.parametrize("name", DOCUMENTS)
def test_targets_of_make_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    for line in code(name):
        assert set(re.findall(r"^make ([a-z]+)", line)) <= targets, line


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_and_what_is_in_them_exist(name: str) -> None:
    """`collectors/cgroup/cpu.py` is a file, `collectors/cgroup/cpu.py:parse` a function, class or constant in it."""
    for span in spans(name):
        path, _, symbol = span.partition(":")
        if "NAME" in path or path.partition("/")[0] not in ROOMS or not re.fullmatch(r"[\w./*-]+/[\w./*-]*", path):
            continue
        files = list(TOP.glob(path.rstrip("/")))
        assert files, span
        if symbol:
            assert re.search(rf"^ *(?:def|class|async def) {symbol}\b|^{symbol}\b", files[0].read_text(), re.MULTILINE), span


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_metrics_exist(name: str) -> None:
    families = {metric.name for metric in METRICS}
    for metric in re.findall(r"strata_\w+\*?", text(name)):
        assert any(family == metric or (metric.endswith("*") and family.startswith(metric[:-1])) for family in families), metric


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_path_of_one_machine(name: str) -> None:
    assert not re.search(r"(?<!\w)/(?:work|home|root|tmp/team)/|localhost:\d|pythonhosted", text(name))


def test_installation_is_commands() -> None:
    """The guests install the agent with these."""
    service, engines = install_commands()
    assert "/opt/stratascope/bin/python install --no-index" in service
    assert "SupplementaryGroups=" in engines


def test_hooks_run_what_the_tests_run() -> None:
    hooks = re.findall(r"^ +entry: \.venv/bin/(.+)$", text(".pre-commit-config.yaml"), re.MULTILINE)
    tests = re.search(r"^ +(\[\[\"ruff\".*\]\]),$", text("tests/laws/test_style.py"), re.MULTILINE)
    assert tests
    assert hooks == [" ".join(re.findall(r'"([^"]+)"', command)) for command in re.findall(r"\[([^\[\]]+)\]", tests[1])]
    assert text(".pre-commit-config.yaml").count("repo:") == text(".pre-commit-config.yaml").count("repo: local") == 1
