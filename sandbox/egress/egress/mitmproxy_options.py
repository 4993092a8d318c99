"""Which of mitmproxy's options may have which value. [pure]

mitmproxy takes a misspelt `--set` without a word, and several of its options would open a way past
the routes. So every option has to have its default, or the value that is required here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Security rests on how the hooks of this version behave; the integration tests prove it.
TESTED_VERSION = "12.2.3"

REQUIRED: dict[str, object] = {
    # Non-HTTP bytes after a CONNECT would be relayed.
    "rawtcp": False,
    # No connection before the request inside of it was decided.
    "connection_strategy": "lazy",
    "http3": False,
    # The application at mitm.it would answer requests before they are decided.
    "onboarding": False,
    # It prints requests with their queries.
    "flow_detail": 0,
    "termlog_verbosity": "error",
}
_FREE = frozenset({"confdir", "listen_host", "listen_port"})
_UPSTREAM = re.compile(r"upstream:http://([a-zA-Z0-9._-]+):([0-9]{1,5})/?")


@dataclass(frozen=True, slots=True)
class Option:
    """An option's value and default."""

    value: object
    default: object


def upstream_of(mode: object) -> tuple[str, int] | None:
    """Host and port of the upstream proxy, if that is the one and only mode."""
    if not isinstance(mode, (list, tuple)) or len(mode) != 1:
        return None
    match = _UPSTREAM.fullmatch(str(mode[0]))
    return (match[1], int(match[2])) if match else None


def option_problems(
    options: Mapping[str, Option], unknown: Mapping[str, object], version: str
) -> list[str]:
    """All that is wrong with the options."""
    found: list[str] = []
    if version != TESTED_VERSION:
        found.append(
            f"this is mitmproxy {version}, but egress is tested with {TESTED_VERSION} only;"
            " run its tests with the new version, then change TESTED_VERSION"
        )
    found += [f'mitmproxy has no option "{name}"; remove it' for name in sorted(unknown)]
    for name, required in REQUIRED.items():
        if name not in options or options[name].value != required:
            found.append(f'mitmproxy\'s option "{name}" has to be {required!r}')
    if "mode" not in options or upstream_of(options["mode"].value) is None:
        found.append("mode has to be upstream:http://HOST:PORT; set EGRESS_UPSTREAM_PROXY")
    if not _value(options, "ssl_verify_upstream_trusted_ca"):
        found.append("the upstream proxy's CA is missing; set EGRESS_UPSTREAM_CA")
    scripts = _value(options, "scripts")
    if not isinstance(scripts, (list, tuple)) or len(scripts) != 1:
        found.append("egress has to be mitmproxy's only script")
    checked = {"mode", "ssl_verify_upstream_trusted_ca", "scripts", *REQUIRED, *_FREE}
    for name, option in sorted(options.items()):
        if name not in checked and option.value != option.default:
            found.append(f'mitmproxy\'s option "{name}" may not be changed; remove it')
    return found


def _value(options: Mapping[str, Option], name: str) -> object:
    return options[name].value if name in options else None
