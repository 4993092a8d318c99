"""Where the tokens come from: files, which are read again at each reload, or variables.

A token EGRESS_TOKEN_X is in the file that EGRESS_TOKEN_FILE_X names, or in the file of its own name
in the directory of secrets, or in the variable of its own name. In more than one of these is an
error, for one of them would be stale after the next change.
"""

import os
import stat
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from egress.credentials import Credentials

PREFIX = "EGRESS_TOKEN_"
FILE_PREFIX = "EGRESS_TOKEN_FILE_"
# Far more than any key; what is larger is another file.
_MAX_BYTES = 65536


class BadToken(Exception):
    """A token that can't be had; the text has the fix, and nothing of the token."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What was read: the tokens at hand, what is wrong with others, and what should be known."""

    credentials: Credentials
    problems: dict[str, str]
    warnings: tuple[tuple[str, str, str], ...]


class TokenSources:
    """The variables as they were at the start, and the directory as it is now."""

    __slots__ = ("_directory", "_files", "_variables")

    def __init__(
        self,
        variables: dict[str, str],
        files: dict[str, Path] | None = None,
        directory: Path | None = None,
    ) -> None:
        self._variables = dict(variables)
        self._files = dict(files or {})
        self._directory = directory

    def __repr__(self) -> str:
        return f"TokenSources({', '.join(sorted(self._variables))})"

    @classmethod
    def take_from(
        cls, environment: MutableMapping[str, str], directory: Path | None
    ) -> "TokenSources":
        """Removes the tokens there, so that no child and no dump of the environment has them.

        `/proc/PID/environ` keeps what the process was started with, and so does every process
        that is started in this container beside it: a file has neither fault.
        """
        taken = {name: environment.pop(name) for name in _names(environment)}
        files = {
            PREFIX + name.removeprefix(FILE_PREFIX): Path(value)
            for name, value in taken.items()
            if name.startswith(FILE_PREFIX)
        }
        variables = {n: v for n, v in taken.items() if not n.startswith(FILE_PREFIX)}
        return cls(variables, files, directory)

    def read(self, names: Iterable[str]) -> Tokens:
        """These tokens, read anew."""
        tokens: dict[str, str] = {}
        problems: dict[str, str] = {}
        warnings: list[tuple[str, str, str]] = []
        for name in sorted(set(names)):
            try:
                tokens[name] = self._token(name, warnings)
            except BadToken as error:
                problems[name] = str(error)
        return Tokens(Credentials(tokens), problems, tuple(warnings))

    def _token(self, name: str, warnings: list[tuple[str, str, str]]) -> str:
        file_variable = FILE_PREFIX + name.removeprefix(PREFIX)
        in_directory = self._directory / name if self._directory else None
        found: list[tuple[str, Path | None]] = []
        if name in self._files:
            found.append((f"the variable {file_variable}", self._files[name]))
        if in_directory is not None and os.path.lexists(in_directory):
            found.append((f"the file {in_directory}", in_directory))
        if name in self._variables:
            found.append((f"the variable {name}", None))
        if len(found) > 1:
            places = " and ".join(place for place, _ in found)
            raise BadToken(f"it comes from {places}; keep one of them")
        if not found:
            where = f"there is no file {in_directory}, and " if in_directory else ""
            raise BadToken(
                f"{where}{file_variable} is not set; write the token into a file and name it there"
            )
        file = found[0][1]
        if file is not None:
            return _read(name, file, warnings)
        if not self._variables[name]:
            raise BadToken(f"the variable {name} is empty; set {file_variable} in its place")
        return self._variables[name]


def _names(environment: MutableMapping[str, str]) -> list[str]:
    return [name for name in environment if name.startswith(PREFIX)]


def _read(name: str, file: Path, warnings: list[tuple[str, str, str]]) -> str:
    try:
        # Not blocking, as it may turn out to be a pipe.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BadToken(f"its file {file} is missing; write the token into it") from None
    except OSError as error:
        raise BadToken(
            f"its file {file} can't be read: {error.strerror}; let the user with uid"
            f" {os.geteuid()} read it, and nobody else"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadToken(f"its file {file} is no regular file; put a file there")
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            data = opened.read(_MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > _MAX_BYTES:
        raise BadToken(f"its file {file} is larger than {_MAX_BYTES} bytes; it has the token alone")
    token = data.removesuffix(b"\n").decode("latin-1")
    if not token:
        raise BadToken(f"its file {file} is empty; write the token into it")
    if status.st_mode & stat.S_IROTH:
        # Kubernetes mounts secrets so; the users of the other sidecars can read it too.
        mode = stat.S_IMODE(status.st_mode)
        message = f"everybody may read it (mode {mode:04o}); chmod 400 it if you can"
        warnings.append((name, str(file), message))
    return token
