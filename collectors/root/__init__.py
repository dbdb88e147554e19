"""The only door to the host's files and answers. Here, and nowhere else, an errno becomes a reason and a path is opened.

`door` is what readers are handed; `recorder` copies what goes through it, `recording` is what the copy says of itself. Below them:
`opening` (confined to the root), `files` (whole files as bytes), `reasons` (why there is nothing), `budget` (how
long it may take), `reads` (what has not returned).
"""

from collectors.root.budget import Budget, OverBudget
from collectors.root.door import SysRoot
from collectors.root.files import BLANK, MAX_FILE_BYTES, Contents, Tree, check_regular, decode, pread_rest, read_rest
from collectors.root.opening import open_in
from collectors.root.reads import LeftBehind, Reads
from collectors.root.reasons import Refusal, Unavailable
from collectors.root.recording import FORMAT, LATER, MARK, Mark

__all__ = [
    "BLANK",
    "FORMAT",
    "LATER",
    "MARK",
    "MAX_FILE_BYTES",
    "Budget",
    "Contents",
    "LeftBehind",
    "Mark",
    "OverBudget",
    "Reads",
    "Refusal",
    "SysRoot",
    "Tree",
    "Unavailable",
    "check_regular",
    "decode",
    "open_in",
    "pread_rest",
    "read_rest",
]
