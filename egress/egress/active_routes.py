"""The routes that are in force, and how others take their place.

Deny-all until the first load; after that, a file that can't be used changes nothing.
"""

from datetime import UTC, datetime
from pathlib import Path

from egress.answer import State
from egress.credentials import Credentials
from egress.log import Log, place
from egress.routes import Routes
from egress.routes_file import BadRoutes, Loaded, Problem, load_routes

_MOST_LOGGED = 20


class ActiveRoutes:
    """Holds the routes."""

    def __init__(self, file: Path, credentials: Credentials, log: Log) -> None:
        self.file = file
        self.routes = Routes()
        self.loaded_at: datetime | None = None
        self.note: str | None = None
        self.reload_error: str | None = None
        self._credentials = credentials
        self._log = log

    def read(self) -> Loaded:
        """The file's routes, with every token at hand; raises BadRoutes."""
        loaded = load_routes(self.file)
        problems = self._credentials.problems(loaded.routes)
        if problems:
            raise BadRoutes([Problem(str(self.file), problem) for problem in problems])
        return loaded

    def load(self) -> None:
        """Puts the file's routes in force; raises BadRoutes."""
        loaded = self.read()
        self.routes = loaded.routes
        self.note = loaded.note
        self.reload_error = None
        self.loaded_at = datetime.now(UTC)
        self._log.write("routes-loaded", routes=len(self.routes.routes), note=self.note)

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
