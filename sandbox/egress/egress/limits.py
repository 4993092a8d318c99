"""How much of a message's head egress takes in, for nobody has decided on it yet. [pure]

What is usual elsewhere: nginx and Apache take 8 KiB a line and 100 fields, Node 16 KiB in all.
Cookies and signed links can be longer, so that there is room above.
"""

from collections.abc import Iterable
from dataclasses import dataclass

# A request line, a status line or the line before a chunk; and the target of a request.
MAX_LINE = 16 * 1024
# All of a head, and all of its trailers.
MAX_HEAD = 64 * 1024
MAX_FIELDS = 200
# One message of a WebSocket, which mitmproxy holds until its end.
MAX_MESSAGE = 16 * 1024 * 1024
# RFC 9113, section 6.5.2: what each field counts beside its name and value.
_FIELD = 32


@dataclass
class Excess(Exception):
    """More than is taken in; the status says of what."""

    status: int
    message: str

    def again(self) -> "Excess":
        """To be raised: one that was raised keeps all that was under way then, each time anew."""
        return Excess(self.status, self.message)


LINE = Excess(414, f"the target is longer than {MAX_LINE} bytes")
HEAD = Excess(431, f"the head is longer than {MAX_HEAD} bytes")
FIELDS = Excess(431, f"the head has more than {MAX_FIELDS} fields")


def excess(target: str, fields: Iterable[tuple[bytes, bytes]]) -> Excess | None:
    """What of this head is too much."""
    if len(target) > MAX_LINE:
        return LINE
    count = size = 0
    for name, value in fields:
        count += 1
        size += len(name) + len(value) + _FIELD
    if count > MAX_FIELDS:
        return FIELDS
    return HEAD if size > MAX_HEAD else None
