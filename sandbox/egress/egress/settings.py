"""egress's own variables. [pure]"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from egress.scan import ScanApi
from egress.token_sources import PREFIX

ROUTES_FILE = "EGRESS_ROUTES_FILE"
CA_FILE = "EGRESS_CA_FILE"
TOKENS_DIR = "EGRESS_TOKENS_DIR"
SCAN_API = "EGRESS_SCAN_API"
# The entrypoint reads these; here they only have to be known.
_ENTRYPOINT = frozenset(
    {
        *("EGRESS_UPSTREAM_PROXY", "EGRESS_UPSTREAM_CA", "EGRESS_CONFDIR"),
        *("EGRESS_LISTEN_HOST", "EGRESS_LISTEN_PORT"),
    }
)
_KNOWN = _ENTRYPOINT | {ROUTES_FILE, CA_FILE, TOKENS_DIR, SCAN_API}


class BadSettings(Exception):
    """Variables that can't be used."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where routes and tokens are, and where to put a copy of the CA certificate."""

    routes_file: Path
    ca_file: Path | None
    tokens_directory: Path
    # Who judges what goes past pipelock's eyes.
    scan_api: ScanApi | None = None


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises BadSettings for an EGRESS_ variable that nobody reads: it is a misspelt one."""
    unknown = sorted(
        name
        for name in environment
        if name.startswith("EGRESS_") and not name.startswith(PREFIX) and name not in _KNOWN
    )
    if unknown:
        raise BadSettings(
            f"unknown variable {', '.join(unknown)}; known are {', '.join(sorted(_KNOWN))}"
            f" and {PREFIX}*"
        )
    ca_file = environment.get(CA_FILE)
    return Settings(
        Path(environment.get(ROUTES_FILE) or "/etc/egress/routes.yaml"),
        Path(ca_file) if ca_file else None,
        # Where Docker puts them.
        Path(environment.get(TOKENS_DIR) or "/run/secrets"),
        _scan_api(environment.get(SCAN_API)),
    )


def _scan_api(text: str | None) -> ScanApi | None:
    if not text:
        return None
    found = re.fullmatch(r"http://([a-z0-9.-]+):([0-9]{1,5})/?", text)
    if not found or not 1 <= int(found[2]) <= 65535:
        raise BadSettings(
            f"{SCAN_API}={text} is no address; write one such as http://127.0.0.1:8890"
        )
    return ScanApi(found[1], int(found[2]))
