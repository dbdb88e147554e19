"""The configuration of one run. No other module reads the environment, and none but the command line the arguments."""

from __future__ import annotations

import os
import re

from agent.model.values import Fact


class Config(Fact, frozen=True, kw_only=True):
    """What the command line chose.

    `only` are the sources to ask; none: all of them. `docker` and `libvirt` are URLs and URIs of engines; none: the sockets below the root,
    and of engines `docker_host`.
    `workload_groups` match the paths of groups that are workloads, though no engine is known for them. Of containers' labels only `labels`
    are read. `interval_seconds` lie between the two passes of a document; 0: one pass. `calibration` is
    a file; None: the host's own, if there is one and the root is the host's.
    """

    root: str = "/"
    only: tuple[str, ...] = ()
    docker: tuple[str, ...] = ()
    docker_host: str | None = None
    libvirt: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    workload_groups: tuple[re.Pattern[str], ...] = ()
    interval_seconds: float = 1.0
    listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 19150),)
    calibration: str | None = None


def docker_host() -> str | None:
    """The URL of an engine by $DOCKER_HOST, as Docker's own commands take it (docker(1)); None where it is not set."""
    return os.environ.get("DOCKER_HOST") or None


def calibration_file() -> str:
    """The path of this host's calibration: in $STATE_DIRECTORY (systemd.exec(5)), or where the unit's StateDirectory= would be."""
    return os.path.join(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or "/var/lib/stratascope", "calibration.json")


def histories_file() -> str:
    """The path of what this host's predictions were off by: beside its calibration."""
    return os.path.join(os.path.dirname(calibration_file()), "histories")


_MOST_OPEN_REPEATS = 3
_MOST_CHOICES = 8


def workload_group(text: str) -> re.Pattern[str]:
    """A regular expression that matches the end of a group's path, with a group `name`. `ValueError` says what is wrong with it.

    Owners of workloads name groups, so no name may make a match slow. Refused is what backtracks without bound: repeats in a repeat or of
    alternatives, back-references, look-around, more than three open repeats; what is left takes at most the cube of a path's length.
    """
    try:
        pattern = re.compile(text, re.DOTALL)
    except re.error as error:
        raise ValueError(f"{text}: no regular expression: {error}") from None
    if "name" not in pattern.groupindex:
        raise ValueError(f"{text}: says nowhere what the workload is called: put (?P<name>...) around that part, as /batch/(?P<name>[^/]+)")
    # An escape or a class is one character, whatever is in it.
    atoms = re.sub(r"\\[^0-9]|\[\^?\]?(?:\\.|[^]\\])*\]", "c", text, flags=re.DOTALL)
    if re.search(r"\\|\(\?(?!:|P<)", atoms):
        raise ValueError(f"{text}: may take too long: no back-references, no look-around, no flags: only (...), (?:...) and (?P<name>...)")
    open_repeats = re.findall(r"[*+]|\{\d*,", atoms)
    choices = re.findall(r"[|?]", re.sub(r"\(\?|[*+}]\?", "", atoms))
    if len(open_repeats) > _MOST_OPEN_REPEATS or len(choices) > _MOST_CHOICES:
        raise ValueError(f"{text}: may take too long: at most {_MOST_OPEN_REPEATS} of * and +, and {_MOST_CHOICES} of | and ?")
    if _repeats_a_choice(atoms):
        raise ValueError(f"{text}: repeats what has repeats or alternatives in it, which may take for ever: write [^/]+ instead")
    return pattern


def _repeats_a_choice(atoms: str) -> bool:
    """Whether a group that is repeated has a repeat, an option or an alternative in it."""
    choices = [False]
    for before, character, after in zip(f" {atoms}", atoms, f"{atoms[1:]} ", strict=False):
        if character == "(":
            choices.append(False)
        elif character == ")":
            choice = choices.pop()
            if choice and after in "*+{":
                return True
            choices[-1] |= choice
        elif character in "*+{|" or (character == "?" and before != "("):
            choices[-1] = True
    return False
