"""The functions of a binary, from lld's map of it."""

import re
from collections.abc import Iterator
from pathlib import Path

# Their names in the order in which typical runs use them first.
LIST = Path(__file__).resolve().parent / "functions.txt"


def listed() -> list[str]:
    return LIST.read_text().splitlines()


def functions(path: Path) -> Iterator[tuple[int, int, str]]:
    """Address, size and name of each function in a map; equal ones that lld has folded have one address."""
    in_text = False
    for line in path.read_text().splitlines():
        # A name has one space more before it than the columns of numbers. That of a symbol has 17.
        parts = re.fullmatch(r" *([0-9a-f]+) +[0-9a-f]+ +([0-9a-f]+) +\d+ ( {16})?(\S.*)", line)
        if not parts:
            continue
        if not parts[3]:
            in_text = parts[4] == ".text"
        # "$x" says where an ARM's code begins.
        elif in_text and not parts[4].startswith("$"):
            yield int(parts[1], 16), int(parts[2], 16), parts[4]


def stable(name: str) -> str:
    """What stays the same of a name that LLVM has numbered, in another build.

    Copies of one function, and what the outliner makes of parts of functions. The latter are short, so all of
    them stay together.
    """
    return re.sub(r" \(\.\d+\)$|(?<=^OUTLINED_FUNCTION)_\d+$", "", name)
