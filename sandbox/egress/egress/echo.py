"""Keeps an answer from telling the agent the credential that its request was given. [pure]"""

from collections.abc import Iterable
from dataclasses import dataclass

from egress import headers
from egress.content_decoding import CODINGS, ContentDecoder, Undecodable, codings
from egress.credentials import Credentials
from egress.routes import Auth
from egress.secret_search import Found, StreamSearch

# An answer of a known size up to this is looked through before any of it is handed on.
HELD = 1 << 18


class EchoRefused(Exception):
    """An answer that the agent must not see; the text says why."""


@dataclass(frozen=True, slots=True)
class Echoes:
    """What an answer must not have in it, of all credentials of its host."""

    refused: frozenset[bytes] = frozenset()
    redacted: frozenset[bytes] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.refused or self.redacted)

    @classmethod
    def of(cls, credentials: Credentials, auths: Iterable[Auth]) -> "Echoes":
        """Those of these credentials."""
        refused: set[bytes] = set()
        redacted: set[bytes] = set()
        for auth in auths:
            (redacted if auth.echo == "redact" else refused).update(credentials.texts(auth))
        return cls(frozenset(refused), frozenset(redacted - refused))

    def accepted(self, fields: headers.Fields) -> headers.Fields:
        """The request's headers, asking for an answer that can be looked into."""
        kept = [field for field in fields if field[0].lower() != b"accept-encoding"]
        offered = b",".join(headers.values(fields, b"accept-encoding")).decode("latin-1")
        can = [
            part.strip()
            for part in offered.split(",")
            if part.partition(";")[0].strip().lower() in CODINGS
        ]
        # What is redacted can't keep its coding.
        accepted = "identity" if self.redacted or not can else ", ".join(can)
        return (*kept, (b"Accept-Encoding", accepted.encode("latin-1")))

    def head(self, fields: headers.Fields) -> headers.Fields:
        """An answer's headers or trailers, redacted; raises EchoRefused."""
        return tuple((self.whole(name), self.whole(value)) for name, value in fields)

    def whole(self, data: bytes) -> bytes:
        """A text that is there as a whole; raises EchoRefused."""
        search = StreamSearch(self.refused, self.redacted)
        try:
            return search.feed(data) + search.finish()
        except Found:
            raise EchoRefused("the answer repeats a credential") from None

    def body(self, content_encoding: str) -> "BodyGuard":
        """What looks through an answer's body; raises EchoRefused."""
        return BodyGuard(self, content_encoding)


class BodyGuard:
    """Hands an answer's body on as it came, or decoded if something may be redacted in it."""

    def __init__(self, echoes: Echoes, content_encoding: str) -> None:
        self._search = StreamSearch(echoes.refused, echoes.redacted)
        self._is_coded = bool(codings(content_encoding))
        self.decodes = self._is_coded and bool(echoes.redacted)
        # Coded, and not handed on while the search waits.
        self._held = b""
        try:
            self._decoder = ContentDecoder(content_encoding)
        except Undecodable:
            raise EchoRefused("the answer has a coding that egress can't look into") from None

    def feed(self, data: bytes) -> bytes:
        """What may go on; raises EchoRefused."""
        try:
            if not self._is_coded:
                return self._search.feed(data)
            return self._feed_coded(data)
        except Found:
            raise EchoRefused("the answer repeats a credential") from None
        except Undecodable:
            raise EchoRefused("the answer is not what its Content-Encoding says") from None

    def _feed_coded(self, data: bytes) -> bytes:
        decoded: list[bytes] = []
        for piece in self._decoder.decode(data):
            searched = self._search.feed(piece)
            if self.decodes:
                decoded.append(searched)
        if self.decodes:
            return b"".join(decoded)
        self._held += data
        if self._search.waits:
            if len(self._held) > HELD:
                raise EchoRefused("the answer may repeat a credential, over and over")
            return b""
        ready, self._held = self._held, b""
        return ready

    def finish(self) -> bytes:
        """The rest."""
        rest = self._search.finish()
        return self._held if self._is_coded and not self.decodes else rest
