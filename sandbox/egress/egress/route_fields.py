"""What a single value of routes.yaml may be. Each function returns it, or raises ValueError with
what is wrong and the fix.
"""

import re

from egress import headers
from egress.hostname import canonical_name, is_address
from egress.routes import COMMON_METHODS, ECHOES, OTHER_METHODS, SCHEMES

# The name under which egress itself is asked, through itself.
OWN_NAME = "_egress.local"

_TOKEN_ENV = re.compile(r"EGRESS_TOKEN_(?!FILE_)[A-Z0-9_]+")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PARAMETER = re.compile(r"[A-Za-z0-9._~-]+")
_USER = re.compile(r"[\x21-\x39\x3b-\x7e]+")
# They are the same in a URL, in JSON and in a header, so a placeholder is found in all of them.
_PLACEHOLDER = re.compile(r"[A-Za-z0-9._~-]+")
# What is shorter, or made of fewer characters, would be found where nobody has put it.
_LEAST_LENGTH = 12
_LEAST_CHARACTERS = 6
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


def scanned_responses(text: str) -> str:
    """Which answers are looked into; leaving `scan` out means all."""
    if text != "none":
        raise ValueError(f'"{text}" is no choice; write "none", or leave "scan" out for all')
    return text


def token_env(text: str) -> str:
    """The name of a token, which reaches egress alone."""
    if not _TOKEN_ENV.fullmatch(text):
        raise ValueError(
            f'"{text}" can\'t hold a token; use a name such as EGRESS_TOKEN_1, and not'
            " EGRESS_TOKEN_FILE_, which says where a token's file is"
        )
    return text


def header(text: str) -> str:
    """A header that a credential may go into."""
    if not _HEADER.fullmatch(text):
        raise ValueError(f'"{text}" is no name of a header; write one such as x-api-key')
    if not headers.can_carry_a_credential(text.encode("ascii")):
        raise ValueError(
            f'"{text}" says where a request goes, or where it ends, so it can\'t carry a'
            " credential; name the header that the server takes its key from"
        )
    return text


def parameter(text: str) -> str:
    """A parameter of the query that a credential may go into."""
    if not _PARAMETER.fullmatch(text):
        raise ValueError(
            f'"{text}" is no name of a parameter; it has letters, digits and "._~-" only'
        )
    return text


def user(text: str) -> str:
    """The user of a basic credential."""
    if not _USER.fullmatch(text):
        raise ValueError(f'"{text}" is no user; it has neither ":" nor blanks, in ASCII')
    return text


def placeholder(text: str) -> str:
    """A text that nobody writes by chance."""
    if not _PLACEHOLDER.fullmatch(text):
        raise ValueError(
            f'"{text}" can\'t be a placeholder; it has letters, digits and "._~-" only'
        )
    if len(text) < _LEAST_LENGTH or len(set(text.lower())) < _LEAST_CHARACTERS:
        raise ValueError(
            f'"{text}" could stand in a request by chance; a placeholder has {_LEAST_LENGTH}'
            f" characters or more, {_LEAST_CHARACTERS} different ones among them"
        )
    return text


def echo(text: str) -> str:
    """What becomes of an answer that repeats the credential."""
    if text not in ECHOES:
        raise ValueError(f'"{text}" is not known; it is one of {", ".join(ECHOES)}')
    return text
