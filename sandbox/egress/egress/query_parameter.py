"""One parameter of a query, whatever else is in it. [pure]"""

import re
from urllib.parse import unquote_plus

# Some servers end a parameter at ";" too.
_SEPARATOR = re.compile("([&;])")


def normal_key(key: str) -> str:
    """A parameter's name as a lax server might read it."""
    return unquote_plus(key).lower().replace("-", "_")


def values(target: str, name: str) -> list[str]:
    """All values of a parameter, decoded."""
    query = target.partition("?")[2]
    pairs = (pair.partition("=") for pair in re.split("[&;]", query))
    return [unquote_plus(value) for key, _, value in pairs if normal_key(key) == normal_key(name)]


def without(target: str, name: str) -> str:
    """The target without this parameter; all else stays as it is."""
    path, mark, query = target.partition("?")
    if not mark:
        return target
    kept: list[str] = []
    parts = _SEPARATOR.split(query)
    for index in range(0, len(parts), 2):
        pair = parts[index]
        if normal_key(pair.partition("=")[0]) != normal_key(name):
            # The separator before it, unless it is the first that is kept.
            kept += [parts[index - 1], pair] if kept else [pair]
    rest = "".join(kept)
    return f"{path}?{rest}" if rest else path


def replaced(target: str, name: str, value: str) -> str:
    """The target with this one value for the parameter, which is encoded already."""
    rest = without(target, name)
    return f"{rest}{'&' if '?' in rest else '?'}{name}={value}"
