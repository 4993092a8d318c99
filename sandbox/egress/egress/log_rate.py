"""How many lines there are about what was refused: the agent decides how often it tries. [pure]"""

import time
from collections.abc import Callable

# Lines a second, once so many have been written at once.
RATE = 50.0
BURST = 1000.0


class LogRate:
    """A token bucket; what found it empty is counted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens = BURST
        self._filled = clock()
        self.left_out = 0

    def take(self) -> bool:
        """Whether one more line may be written."""
        now = self._clock()
        self._tokens = min(BURST, self._tokens + (now - self._filled) * RATE)
        self._filled = now
        if self._tokens < 1.0:
            self.left_out += 1
            return False
        self._tokens -= 1.0
        return True

    def resume(self) -> int:
        """How many were left out; from now on they count from zero."""
        count, self.left_out = self.left_out, 0
        return count
