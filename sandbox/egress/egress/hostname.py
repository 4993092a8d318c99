"""Host names in one canonical spelling, so that two of them can be compared.

Names only: an IP address, in any of its spellings, has no canonical name here and so matches no
route.
"""

import ipaddress
import re

DEFAULT_PORTS = {"http": 80, "https": 443}

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# inet_aton(3) also reads "0x7f.1" and "2130706433" as addresses; no name ends in such a label,
# as no top-level domain is a number (RFC 3696, section 2).
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
_PORT = re.compile(r"[0-9]{1,5}")


def canonical_name(text: str) -> str | None:
    """Lower case, without the root's dot, in ASCII; None if it is no host name."""
    name = _to_ascii(text)
    if name is None:
        return None
    name = name.lower().removesuffix(".")
    if not name or len(name) > 253:
        return None
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or _NUMBER.fullmatch(labels[-1]):
        return None
    return name


def _to_ascii(text: str) -> str | None:
    if text.isascii():
        return text
    # mitmproxy hands over a decoded IDNA name. Only one that survives the way there and back is
    # taken: IDNA also maps look-alikes, such as full-width letters, to plain ones.
    try:
        encoded = text.encode("idna")
        return encoded.decode("ascii") if encoded.decode("idna") == text.lower() else None
    except UnicodeError:
        return None


def split_authority(text: str) -> tuple[str, int | None] | None:
    """A canonical name and the port of "NAME" or "NAME:PORT"; None for anything else.

    User information ("user@name") and addresses in brackets are something else.
    """
    host, colon, port = text.partition(":")
    name = canonical_name(host)
    if name is None:
        return None
    if not colon:
        return name, None
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        return None
    return name, int(port)


def is_address(text: str) -> bool:
    """Whether this is an IP address, in brackets or not, or a number that is read as one."""
    bare = text.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return _NUMBER.fullmatch(bare.lower().removesuffix(".").rpartition(".")[2]) is not None
    return True


def pattern_matches(pattern: str, name: str) -> bool:
    """Whether a route's host, exact or "*.name", covers this canonical name."""
    if pattern.startswith("*."):
        return name.endswith(pattern[1:]) and len(name) > len(pattern) - 1
    return name == pattern


def patterns_overlap(one: str, other: str) -> bool:
    """Whether there is a name that both hosts of routes cover."""
    if one.startswith("*.") and other.startswith("*."):
        return one == other or one.endswith(other[1:]) or other.endswith(one[1:])
    return pattern_matches(one, other) or pattern_matches(other, one)
