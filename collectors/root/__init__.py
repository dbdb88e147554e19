"""The only door to the host's files and answers. Here, and nowhere else, an errno becomes a reason and a path is opened.

`door` is what readers are handed; `recorder` copies what goes through it, `recording` is what the copy says of itself. Below them:
`opening` (confined to the root), `files` (whole files as bytes), `reasons` (why there is nothing).
"""

from collectors.root.door import HeldDirectory, SysRoot
from collectors.root.files import MAX_FILE_BYTES, Contents, Tree, decode
from collectors.root.reasons import Refusal, Unavailable
from collectors.root.recording import FORMAT, LATER, MARK, Mark

__all__ = [
    "FORMAT",
    "LATER",
    "MARK",
    "MAX_FILE_BYTES",
    "Contents",
    "HeldDirectory",
    "Mark",
    "Refusal",
    "SysRoot",
    "Tree",
    "Unavailable",
    "decode",
]
