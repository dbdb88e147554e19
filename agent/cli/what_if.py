"""agent what-if: what a change is predicted to do to a workload."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agent.cli import arguments
from agent.cli.output import fail, show
from agent.cli.workload import one_workload, window_and_workload

if TYPE_CHECKING:
    from agent.cli.arguments import Verbs
    from agent.model.runtimes import Paradigm

PARADIGMS: dict[str, Paradigm] = {"container": "containerization", "vm": "virtualization", "sandbox": "sandbox"}

DESCRIPTION = """\
Predicts what changes of its configuration would do to one workload: cost now,
cost then, and the interval of the difference. Nothing on the host is changed.
Several changes are predicted together."""

EXAMPLES = """\
  agent what-if web --cpus max
  agent what-if db --pin 2-3 --node 0
  agent what-if db --move-to 1
  agent what-if web --without batch --without backup
  agent what-if web --memory 512M
  agent what-if 4711 --as container"""


def add(verbs: Verbs) -> None:
    parser = arguments.add_verb(
        verbs, "what-if", run, summary="predict what a change would do to a workload", description=DESCRIPTION, examples=EXAMPLES
    )
    arguments.add_workload(parser)
    changes = parser.add_argument_group("changes, at least one")
    changes.add_argument("--pin", type=arguments.cpus, metavar="CPUS", help='let it run on these CPUs only, as "0-3,8"')
    changes.add_argument("--cpus", type=arguments.quota, metavar="N", help='give it a quota of N CPUs, as 1.5, or "max" for none')
    changes.add_argument(
        "--weight", type=int, metavar="N", help="give it this CPU weight, 1 to 10000 as in cgroup v2 (v1: 1024 shares are weight 100)"
    )
    changes.add_argument("--hugepages", action="store_true", help="back all of its memory with huge pages")
    changes.add_argument("--node", type=int, metavar="N", help="put all of its memory on this NUMA node")
    changes.add_argument("--move-to", type=int, metavar="N", help="let it run on the CPUs of this NUMA node only, its memory there, too")
    changes.add_argument(
        "--memory", type=arguments.memory_size, metavar="SIZE", help='give it this memory limit, as 512M or 2G, or "max" for none'
    )
    changes.add_argument(
        "--without", action="append", default=[], metavar="NAME", help="stop this other workload; may be repeated; named as WORKLOAD is"
    )
    changes.add_argument("--as", dest="paradigm", choices=tuple(PARADIGMS), help="run the same work as a container, a VM or a sandbox")
    arguments.add_json(parser)
    arguments.add_width(parser)
    arguments.add_interval(parser)
    arguments.add_calibration(parser)
    arguments.add_sources(parser)


def run(parsed: argparse.Namespace) -> int:
    from msgspec.structs import replace

    from agent.model.change import Change
    from agent.overhead.what_if import what_if
    from exporters.views import what_if as view

    paradigm = PARADIGMS[parsed.paradigm] if parsed.paradigm else None
    change = Change(
        pin=parsed.pin,
        cpus=parsed.cpus,
        weight=parsed.weight,
        hugepages=parsed.hugepages,
        node=parsed.node,
        paradigm=paradigm,
        memory=parsed.memory,
        move_to=parsed.move_to,
    )
    if change == Change() and not parsed.without:
        names = "--pin, --cpus, --weight, --hugepages, --node, --move-to, --memory, --without, --as"
        fail(2, f"what-if: name at least one change ({names})")
    window, workload = window_and_workload(parsed)
    leaving = (one_workload(window.after.workloads, word).id for word in parsed.without)
    try:
        answer = what_if(window, workload, replace(change, without=tuple(sorted(set(leaving)))))
    except ValueError as error:
        fail(2, f"what-if: {error}")
    return show(parsed, answer, view.render)
