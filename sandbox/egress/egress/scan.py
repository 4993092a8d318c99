"""Asks pipelock about a request that then goes past its eyes.

pipelock holds each answer that it could read whole, and refuses large ones. A route with
`scan: {responses: none}` is for a host whose TLS pipelock leaves alone, so that downloads stream;
what leaves is put to pipelock's scan API before. Such a request has no body.
"""

import http.client
import json
from dataclasses import dataclass
from typing import Any

from egress.headers import Fields

# The API wants one. It listens inside the container only, and tells nothing but verdicts.
_TOKEN = "loopback"  # noqa: S105 - it is no secret
_SECONDS = 15


@dataclass(frozen=True, slots=True)
class ScanApi:
    """Where pipelock gives verdicts."""

    host: str
    port: int

    def refusal(self, url: str, fields: Fields) -> str | None:
        """Why this may not leave; None if it may. Blocks for as long as pipelock takes."""
        text = "\n".join(
            f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in fields
        )
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_SECONDS)
        try:
            for kind, given in (("url", {"url": url}), ("dlp", {"text": text})):
                verdict = self._ask(connection, {"kind": kind, "input": given})
                if verdict.get("status") != "completed" or verdict.get("decision") != "allow":
                    return _told(verdict)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"pipelock's scan API did not answer ({type(error).__name__})"
        finally:
            connection.close()
        return None

    @staticmethod
    def _ask(connection: http.client.HTTPConnection, question: dict[str, Any]) -> dict[str, Any]:
        fields = {"Content-Type": "application/json", "Authorization": f"Bearer {_TOKEN}"}
        connection.request("POST", "/api/v1/scan", json.dumps(question).encode(), fields)
        answer: Any = json.loads(connection.getresponse().read())
        if not isinstance(answer, dict):
            raise ValueError("no object")
        return answer


def _told(verdict: dict[str, Any]) -> str:
    """The API's own words, which never repeat what it has found."""
    lists = (verdict.get("findings"), verdict.get("errors"))
    said = [item.get("message") for items in lists if isinstance(items, list) for item in items]
    return "pipelock refuses it: " + ("; ".join(str(one) for one in said) or "no verdict")
