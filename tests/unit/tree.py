"""Small host trees, written where a test wants them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from collectors.root import MARK, SysRoot

A_MARK = '{"taken_at": 1700000000, "version": "0", "page_bytes": 4096}'


def plant(root: Path, files: Mapping[str, str | bytes]) -> None:
    """Files by path, directories made as needed. A name that ends in "/" is an empty directory."""
    for path, content in files.items():
        place = root / path
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())


def grow(root: Path, files: Mapping[str, str | bytes]) -> SysRoot:
    """The tree with these files in it."""
    plant(root, files)
    return SysRoot(root)


def recorded(root: Path, files: Mapping[str, str | bytes]) -> SysRoot:
    """The same, marked as a recording: nothing live is asked."""
    return grow(root, {MARK: A_MARK, **files})


def malformed(root: SysRoot) -> list[str | None]:
    """The paths of what was read through a root and not understood, all or in part."""
    return [error.path for error in root.malformed]
