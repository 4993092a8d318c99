"""Finds texts in a body that comes in pieces, and keeps no more of it than it has to. [pure]"""

from collections.abc import Iterable


class Found(Exception):
    """One of the texts is there."""

    def __init__(self, text: bytes) -> None:
        super().__init__("found")
        self.text = text


class StreamSearch:
    """Hands on what was searched; only what may be the beginning of a text waits for the rest."""

    def __init__(
        self, refused: Iterable[bytes], redacted: Iterable[bytes] = (), *, any_case: bool = False
    ) -> None:
        self._any_case = any_case
        # The longest first: it may have one of the others in it.
        self._redacted = sorted(set(redacted), key=len, reverse=True)
        self._refused = [self._fold(text) for text in refused]
        self._all = [*self._refused, *self._redacted]
        self._longest = max((len(text) for text in self._all), default=0)
        self._held = b""

    def _fold(self, data: bytes) -> bytes:
        return data.lower() if self._any_case else data

    def feed(self, data: bytes) -> bytes:
        """What may go on, with stars for what is redacted; raises Found."""
        whole = self._held + data
        folded = self._fold(whole)
        for text in self._refused:
            if text in folded:
                raise Found(text)
        for text in self._redacted:
            # As long as before, so that a Content-Length stays true.
            whole = whole.replace(text, b"*" * len(text))
        ready = len(whole) - self._beginning(self._fold(whole))
        self._held = whole[ready:]
        return whole[:ready]

    @property
    def waits(self) -> bool:
        """Whether a text may have begun."""
        return bool(self._held)

    def finish(self) -> bytes:
        """The rest, in which nothing is."""
        rest, self._held = self._held, b""
        return rest

    def _beginning(self, data: bytes) -> int:
        """How long an end of the data is that a text may begin with."""
        tail = data[max(0, len(data) - self._longest + 1) :]
        longest = 0
        for text in self._all:
            at = tail.find(text[:1])
            while at >= 0:
                if text.startswith(tail[at:]):
                    longest = max(longest, len(tail) - at)
                    break
                at = tail.find(text[:1], at + 1)
        return longest


def finds(data: bytes, texts: Iterable[bytes]) -> bytes | None:
    """Which of the texts, in small letters, is in the data in whatever letters."""
    folded = data.lower()
    return next((text for text in texts if text in folded), None)
