"""JSON lines on stdout: one for each decision, and what else an operator has to know.

No line has a query, a header, a body or the text of an exception, for secrets come in all of
them; and no value is longer than `_LONGEST`.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

from egress.log_rate import LogRate

_LONGEST = 512
# What the agent can cause at will. What it is allowed to send is always logged.
_LIMITED = frozenset({"mitmproxy", "connection-refused", "request-failed", "internal-error"})
# mitmproxy's texts quote what came over the wire.
_QUOTED = re.compile(r"b?'[^']*'|b?\"[^\"]*\"")

Value = str | int | bool | None


class Log:
    """Writes the lines."""

    def __init__(self, stream: TextIO | None = None, rate: LogRate | None = None) -> None:
        self._stream = stream or sys.stdout
        self._rate = rate or LogRate()

    def write(self, event: str, **values: Value) -> None:
        """One line; values that are None are left out. Too many refusals are only counted."""
        if event in _LIMITED or values.get("decision") == "deny":
            if not self._rate.take():
                if self._rate.left_out == 1:
                    self._print("log-limited", {"message": "refusals come too fast to log all"})
                return
            if left_out := self._rate.resume():
                self._print("log-limited", {"left_out": left_out})
        self._print(event, values)

    def _print(self, event: str, values: Mapping[str, Value]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Value] = {"time": now, "event": event}
        line |= {key: _bounded(value) for key, value in values.items() if value is not None}
        print(json.dumps(line), file=self._stream, flush=True)


def _bounded(value: Value) -> Value:
    if isinstance(value, str) and len(value) > _LONGEST:
        return value[: _LONGEST - 1] + "…"
    return value


def without_quotes(text: str) -> str:
    """A text of mitmproxy's without what it quotes."""
    return _QUOTED.sub("'…'", text)


def place(error: BaseException) -> str:
    """The type of an exception and where it came from, without its text."""
    last: TracebackType | None = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = f" at {last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else ""
    return type(error).__name__ + where


class MitmproxyLog(logging.Handler):
    """What mitmproxy itself has to say from warnings up, as lines of the same kind."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line."""
        raised = record.exc_info[1] if record.exc_info else None
        self._log.write(
            "mitmproxy",
            level=record.levelname.lower(),
            message=without_quotes(record.getMessage()),
            error=place(raised) if raised else None,
        )
