"""What a single value of routes.yaml may be. Each function returns it, or raises ValueError with
what is wrong and the fix.
"""

import re

from egress.hostname import canonical_name, is_address
from egress.routes import COMMON_METHODS, OTHER_METHODS, SCHEMES

# The name under which egress itself is asked, through itself.
OWN_NAME = "_egress.local"

_TOKEN_ENV = re.compile(r"EGRESS_TOKEN_[A-Z0-9_]+")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,=:@/-]*")
_METHODS = COMMON_METHODS + OTHER_METHODS


def host(text: str) -> str:
    """A canonical name, or "*." and one."""
    bare = text.removeprefix("*.")
    if is_address(bare):
        raise ValueError(f'"{text}" is an address; a host is a name')
    name = canonical_name(bare) if bare.isascii() else None
    if name is None:
        raise ValueError(
            f'"{text}" is no host name; write "api.example.com", or "*.example.com" for every'
            " name below it, without scheme, port and path"
        )
    if name != bare:
        prefix = text.removesuffix(bare)
        raise ValueError(f'"{text}" is not in its plain form; write "{prefix}{name}"')
    if bare != text and "." not in name:
        raise ValueError(f'"{text}" covers a whole top-level domain; name a domain below it')
    if name == OWN_NAME or name.endswith("." + OWN_NAME):
        raise ValueError(f'"{OWN_NAME}" is answered by egress itself; remove it')
    return text


def path(text: str) -> str:
    """A path prefix that reads the same to every server."""
    segments = text.split("/")
    if not _PATH.fullmatch(text) or "//" in text or "." in segments or ".." in segments:
        raise ValueError(
            f'"{text}" is no path prefix; it starts with "/" and has neither "//", dot segments,'
            " escapes nor a query"
        )
    return text


def method(text: str) -> str:
    """A method that can be allowed."""
    if text not in _METHODS:
        raise ValueError(f'"{text}" is no method that can be allowed: {", ".join(_METHODS)}')
    return text


def scheme(text: str) -> str:
    """A scheme of `auth`."""
    if text not in SCHEMES:
        raise ValueError(f'"{text}" is no scheme; it is one of {", ".join(SCHEMES)}')
    return text


def token_env(text: str) -> str:
    """One of the variables that reach egress alone."""
    if not _TOKEN_ENV.fullmatch(text):
        raise ValueError(f'"{text}" can\'t hold a token; use a variable such as EGRESS_TOKEN_1')
    return text
