"""The tree that a verb reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.output import fail

if TYPE_CHECKING:
    from agent.config import Config
    from collectors.root import SysRoot


def open_root(config: Config) -> SysRoot:
    """The configured root; exit code 2 where it is not there, or is a recording that cannot be read."""
    from collectors.root import SysRoot, Unavailable

    try:
        root = SysRoot(config.root)
        # Whether the second pass of a recording can be read is known before the first one is.
        root.later()
        return root
    except Unavailable as error:
        fail(2, error.detail)
