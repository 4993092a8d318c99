"""What a token becomes in a request, and by which texts it is known in an answer. [pure]"""

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

from egress.routes import Auth

# What an HTTP header can carry, without blanks at the ends and line breaks.
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_ESCAPE = re.compile("%[0-9A-F]{2}")
# What is shorter stands in many answers by chance.
SHORTEST_SEARCHED = 8


class Credentials:
    """The tokens by their names."""

    __slots__ = ("_tokens",)

    def __init__(self, tokens: dict[str, str]) -> None:
        self._tokens = dict(tokens)

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self._tokens))})"

    def problem(self, auth: Auth) -> str | None:
        """What keeps this one from being used; nothing of it is in the text."""
        token = self._tokens[auth.token_env]
        if not _VALUE.fullmatch(token):
            return "it has characters that no HTTP header can carry; write the token alone"
        if auth.scheme == "basic" and auth.user is None and ":" not in token:
            return 'it has to be user:password, as its scheme is basic; or add "user"'
        dummy = auth.placeholder
        if dummy and (dummy.lower() in token.lower() or token.lower() in dummy.lower()):
            return "its placeholder is part of it; choose a placeholder that tells nothing of it"
        return None

    def header(self, auth: Auth) -> tuple[str, str] | None:
        """Name and value of the header that it goes into; None if it goes into the query."""
        token = self._tokens[auth.token_env]
        match auth.scheme:
            case "bearer":
                return "Authorization", f"Bearer {token}"
            case "token":
                return "Authorization", f"token {token}"
            case "basic":
                return "Authorization", f"Basic {_encoded(self._basic(auth))}"
            case "header":
                return auth.header or "", token
            case "query":
                return None

    def parameter(self, auth: Auth) -> str:
        """The value of the query's parameter, ready to be sent."""
        return quote(self._tokens[auth.token_env], safe="")

    def texts(self, auth: Auth) -> set[bytes]:
        """What of it an answer could repeat."""
        token = self._tokens[auth.token_env]
        found = {token, quote(token, safe=""), quote(token)}
        # Servers differ in the letters of an escape (RFC 3986, section 2.1).
        found |= {_ESCAPE.sub(lambda escape: escape[0].lower(), text) for text in found}
        if auth.scheme == "basic":
            whole = self._basic(auth)
            found |= {whole, _encoded(whole), whole.partition(":")[2]}
        return {text.encode("ascii") for text in found if len(text) >= SHORTEST_SEARCHED}

    def too_short(self, auths: Iterable[Auth]) -> list[str]:
        """The names of those that are too short to be searched for."""
        return sorted({auth.token_env for auth in auths if not self.texts(auth)})

    def _basic(self, auth: Auth) -> str:
        token = self._tokens[auth.token_env]
        return token if auth.user is None else f"{auth.user}:{token}"


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode("ascii")).decode("ascii")
