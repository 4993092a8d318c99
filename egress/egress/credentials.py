"""The tokens, taken out of the environment once and shown to nobody.

`/proc/PID/environ` keeps what the process was started with; that file is readable only to the
process's own user.
"""

import base64
import re
from collections.abc import MutableMapping

from egress.routes import Auth, Routes

PREFIX = "EGRESS_TOKEN_"
# What an HTTP header can carry, without blanks at the ends and line breaks.
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


class Credentials:
    """The tokens by the name of their variable."""

    __slots__ = ("_tokens",)

    def __init__(self, tokens: dict[str, str]) -> None:
        self._tokens = dict(tokens)

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self._tokens))})"

    @classmethod
    def take_from(cls, environment: MutableMapping[str, str]) -> "Credentials":
        """Removes the tokens there, so that no child and no dump of the environment has them."""
        names = [name for name in environment if name.startswith(PREFIX)]
        return cls({name: environment.pop(name) for name in names})

    def problems(self, routes: Routes) -> list[str]:
        """What keeps these routes from being used, by the names of the variables alone."""
        found: list[str] = []
        for auth in {route.auth for route in routes.routes if route.auth}:
            token = self._tokens.get(auth.token_env, "")
            if not token:
                found.append(f"{auth.token_env} is not set, but a route has it as its token_env")
            elif not _VALUE.fullmatch(token):
                found.append(f"{auth.token_env} has characters that no HTTP header can carry")
            elif auth.scheme == "basic" and ":" not in token:
                found.append(f"{auth.token_env} has to be user:password, as its scheme is basic")
        return sorted(found)

    def header(self, auth: Auth) -> str:
        """The value of the Authorization header."""
        token = self._tokens[auth.token_env]
        match auth.scheme:
            case "bearer":
                return f"Bearer {token}"
            case "token":
                return f"token {token}"
            case "basic":
                return "Basic " + base64.b64encode(token.encode("ascii")).decode("ascii")
