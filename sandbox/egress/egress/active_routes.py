"""The routes that are in force, and how others take their place.

Deny-all until the first load; after that, a file that can't be used changes nothing.
"""

from datetime import UTC, datetime
from pathlib import Path

from egress.answer import State
from egress.credentials import SHORTEST_SEARCHED, Credentials
from egress.echo import Echoes
from egress.log import Log, place
from egress.placeholders import Placeholders
from egress.routes import Routes
from egress.routes_file import BadRoutes, Loaded, Problem, load_routes
from egress.token_sources import Tokens, TokenSources

_MOST_LOGGED = 20


class ActiveRoutes:
    """Holds the routes and, of the same moment, their credentials and placeholders."""

    def __init__(self, file: Path, sources: TokenSources, log: Log) -> None:
        self.file = file
        self.routes = Routes()
        self.credentials = Credentials({})
        self.placeholders = Placeholders(self.routes)
        self.reserved: frozenset[bytes] = frozenset()
        self.loaded_at: datetime | None = None
        self.note: str | None = None
        self.reload_error: str | None = None
        self._sources = sources
        self._log = log

    def read(self) -> tuple[Loaded, Tokens]:
        """The file's routes, with every token at hand; raises BadRoutes."""
        loaded = load_routes(self.file)
        tokens = self._sources.read(auth.token_env for auth in loaded.routes.credentials())
        problems: list[Problem] = []
        known: set[tuple[str, str]] = set()
        for use in loaded.uses:
            name = use.auth.token_env
            problem = tokens.problems.get(name) or tokens.credentials.problem(use.auth)
            # Once, however many routes a token is for.
            if problem and (name, problem) not in known:
                known.add((name, problem))
                message = f"the route for {use.host} needs {name}: {problem}"
                problems.append(Problem(str(self.file), message, use.line, use.column))
        if problems:
            raise BadRoutes(problems)
        return loaded, tokens

    def load(self) -> None:
        """Puts the file's routes in force; raises BadRoutes."""
        loaded, tokens = self.read()
        self.routes = loaded.routes
        self.credentials = tokens.credentials
        self.placeholders = Placeholders(loaded.routes)
        self.reserved = loaded.routes.reserved_headers()
        self.note = loaded.note
        self.reload_error = None
        self.loaded_at = datetime.now(UTC)
        self._log.write("routes-loaded", routes=len(self.routes.routes), note=self.note)
        for name, file, message in tokens.warnings:
            self._log.write("token-warning", token=name, file=file, message=message)
        for name in self.credentials.too_short(self.routes.credentials()):
            message = f"shorter than {SHORTEST_SEARCHED}, so answers are not searched for it"
            self._log.write("token-warning", token=name, message=message)

    def echoes(self, host: str) -> Echoes:
        """What answers of this host must not repeat."""
        return Echoes.of(self.credentials, self.routes.credentials(host))

    def reload(self) -> None:
        """As `load`, but whatever goes wrong is logged, and the old routes stay."""
        try:
            self.load()
        except BadRoutes as error:
            self.reload_error = str(error)
            for problem in error.problems[:_MOST_LOGGED]:
                self._log.write("reload-failed", message=f"{problem}; the old routes stay")
        except Exception as error:  # noqa: BLE001 - the old routes have to stay, whatever it is
            self.reload_error = f"internal error: {type(error).__name__}"
            self._log.write("reload-failed", message="the old routes stay", error=place(error))

    def state(self, ca_certificate: bytes | None) -> State:
        """What is in force, for those who ask."""
        return State(
            self.routes,
            str(self.file),
            self.loaded_at,
            self.note,
            self.reload_error,
            ca_certificate,
        )
