"""What egress refuses to start with, and what a reload changes."""

import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import ROUTES, TOKEN, TOKENS, Starter
from tests.integration.egress_process import PROJECT, EgressProcess, broken

EX_CONFIG = 78


def refused(egress: EgressProcess) -> str:
    egress.spawn()
    assert egress.wait() == EX_CONFIG
    everything = "".join(egress.output)
    assert TOKEN not in everything
    assert "Traceback" not in everything
    return everything


def status(egress: EgressProcess, host: str) -> int:
    """Of a plain request to this host: 200, or 403 without a route."""
    with httpx.Client(proxy=egress.url, trust_env=False, timeout=60) as client:
        return client.get(f"http://{host}/x").status_code


def test_every_error_of_the_routes_with_its_place(another: Starter) -> None:
    egress = another("routes:\n  - hosts: a.example\n    methods: [FETCH]\n")
    text = refused(egress)
    assert f'egress: {egress.routes_file}:2:5: a route has no "host"; add it\n' in text
    assert f'egress: {egress.routes_file}:2:5: unknown key "hosts"; ' in text
    assert f'egress: {egress.routes_file}:3:15: "FETCH" is no method' in text


def test_a_token_that_is_missing(another: Starter) -> None:
    text = refused(another(tokens={"EGRESS_TOKEN_1": TOKEN}))
    assert "the route for basic.example.com needs EGRESS_TOKEN_BASIC: there is no file " in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "rawtpc=false"), 'mitmproxy has no option "rawtpc"; remove it'),
        (("--set", "rawtcp=true"), "multiple values"),
        (("--set", "ssl_insecure=true"), 'option "ssl_insecure" may not be changed'),
        (("--ignore-hosts", ".*"), 'option "ignore_hosts" may not be changed'),
        (("--mode", "regular@127.0.0.1:0"), "mode has to be upstream:http://HOST:PORT"),
        (("--set", "modify_headers=/~q/Cookie/x"), 'option "modify_headers" may not be changed'),
        (("--set", "save_stream_file=/tmp/x"), 'option "save_stream_file" may not be changed'),
        (
            ("-s", str(PROJECT / "egress" / "__init__.py")),
            "egress has to be mitmproxy's only script",
        ),
        (("-w", "/dev/null"), 'option "save_stream_file" may not be changed'),
    ],
)
def test_an_option_that_is_unknown_or_unsafe(
    another: Starter, arguments: tuple[str, ...], message: str
) -> None:
    egress = another(arguments=arguments)
    egress.spawn()
    assert egress.wait() != 0
    assert message in "".join(egress.output)


def test_an_option_in_mitmproxys_own_file(another: Starter) -> None:
    egress = another()
    egress.confdir.mkdir()
    (egress.confdir / "config.yaml").write_text("ssl_insecure: true\nnosuchoption: 1\n")
    text = refused(egress)
    assert 'mitmproxy has no option "nosuchoption"; remove it' in text
    assert 'option "ssl_insecure" may not be changed' in text


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"EGRESS_UPSTREAM_PROXY": ""}, "EGRESS_UPSTREAM_PROXY is not set"),
        ({"EGRESS_UPSTREAM_PROXY": "https://127.0.0.1:1"}, "mode has to be upstream:http://"),
        ({"EGRESS_UPSTREAM_CA": ""}, "EGRESS_UPSTREAM_CA is not set"),
        ({"EGRESS_UPSTREAM_CA": "/nowhere.pem"}, "/nowhere.pem is missing"),
        ({"EGRESS_UPSTREM_CA": "x"}, "unknown variable EGRESS_UPSTREM_CA"),
        ({"EGRESS_CA_FILE": "/nowhere/ca.pem"}, "certificate can't be handed out"),
    ],
)
def test_a_variable_that_is_missing_or_wrong(
    another: Starter, variables: dict[str, str], message: str
) -> None:
    assert message in refused(another(variables=variables))


def test_a_ca_key_that_others_can_read(another: Starter) -> None:
    egress = another().start()
    assert egress.stop() == 0
    (egress.confdir / "mitmproxy-ca.pem").chmod(0o644)
    assert "others may read the CA's key" in refused(another(routes=None))


def test_the_ca_stays_the_same_when_it_starts_again(another: Starter) -> None:
    egress = another().start()
    first = egress.ca_file.read_bytes()
    assert egress.stop() == 0
    again = another().start()
    assert again.ca_file.read_bytes() == first


@pytest.mark.parametrize("text", [None, "", "# nothing yet\n", "routes: []\n"])
def test_without_routes_it_runs_denies_everything_and_says_so(
    another: Starter, text: str | None
) -> None:
    egress = another(text).start()
    assert "everything is denied" in egress.log[-1]["note"]
    assert egress.log[-1]["routes"] == 0
    assert status(egress, "open.example.com") == 403
    assert egress.wait_for_decision(host="open.example.com")["reason"] == "no-routes"


def write(file: Path, text: str) -> None:
    file.write_text(text)


def replace(file: Path, text: str) -> None:
    other = file.with_suffix(".new")
    other.write_text(text)
    other.rename(file)


@pytest.mark.parametrize("change", [write, replace], ids=["in-place", "renamed"])
def test_a_reload_takes_the_new_routes(
    another: Starter, change: Callable[[Path, str], None]
) -> None:
    egress = another("routes:\n  - host: open.example.com\n").start()
    assert status(egress, "open.example.com") == 200
    assert status(egress, "odd.example.com") == 403
    change(egress.routes_file, "routes:\n  - host: odd.example.com\n")
    egress.reload()
    egress.wait_for(lambda line: line["event"] == "routes-loaded")
    assert status(egress, "open.example.com") == 403
    assert status(egress, "odd.example.com") == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("routes: [", "is not YAML"),
        ("routes:\n  - host: odd.example.com\n    path: [/]\n", 'unknown key "path"'),
        (ROUTES.replace("EGRESS_TOKEN_1", "EGRESS_TOKEN_2"), "EGRESS_TOKEN_FILE_2 is not set"),
    ],
)
def test_a_reload_of_a_bad_file_keeps_the_old_routes(
    another: Starter, text: str, message: str
) -> None:
    egress = another("routes:\n  - host: open.example.com\n").start()
    egress.routes_file.write_text(text)
    egress.reload()
    failed = egress.wait_for(lambda line: line["event"] == "reload-failed")
    assert message in failed["message"]
    assert failed["message"].endswith("; the old routes stay")
    assert status(egress, "open.example.com") == 200
    assert status(egress, "odd.example.com") == 403
    with httpx.Client(proxy=egress.url, trust_env=False) as client:
        shown = client.get("http://_egress.local/allowlist").json()
    assert message in shown["reload_error"]
    assert [route["host"] for route in shown["routes"]] == ["open.example.com"]


def test_a_token_that_no_route_had_at_the_start_can_be_used_after_a_reload(
    another: Starter,
) -> None:
    egress = another("").start()
    egress.routes_file.write_text(ROUTES)
    egress.reload()
    loaded = egress.wait_for(lambda line: line["event"] == "routes-loaded")
    assert loaded["routes"] == ROUTES.count("- host:")


def test_a_reload_that_comes_while_it_starts_does_not_end_it(another: Starter) -> None:
    egress = another()
    egress.spawn()
    # From the moment the entrypoint is another program, until the routes are loaded.
    command = Path(f"/proc/{egress.process.pid}/comm")
    while command.read_text().strip() != "mitmdump":
        assert egress.process.poll() is None
    for _ in range(100):
        egress.reload()
    egress.wait_for(lambda line: line["event"] == "routes-loaded")
    assert status(egress, "open.example.com") == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_code_0_when_asked_to(another: Starter, number: signal.Signals) -> None:
    egress = another().start()
    egress.process.send_signal(number)
    assert egress.wait() == 0


def test_a_port_in_use_is_an_error(another: Starter) -> None:
    first = another().start()
    second = another(routes=None, variables={"EGRESS_LISTEN_PORT": str(first.port)})
    second.spawn()
    assert second.wait() == 1


def test_only_the_confdir_and_the_certificates_place_are_written_to(
    another: Starter, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    egress = another(variables={"HOME": str(home), "TMPDIR": str(home)}).start()
    assert egress.stop() == 0
    assert list(home.iterdir()) == []
    assert {file.name for file in tmp_path.iterdir()} == {
        *("home", "routes.yaml", "confdir", "ca.pem"),
    }


def test_the_tokens_leave_the_environment(another: Starter, entrypoint: Path) -> None:
    broken(
        entrypoint,
        "active_routes.py",
        "        loaded, tokens = self.read()\n        self.routes",
        "        import os\n"
        '        self._log.write("environment", names=" ".join(os.environ))\n'
        "        loaded, tokens = self.read()\n        self.routes",
    )
    egress = another(entrypoint=entrypoint).start()
    names = egress.log[-2]["names"]
    assert "EGRESS_ROUTES_FILE" in names
    assert "EGRESS_TOKEN" not in names


def test_no_dump_of_mitmproxys_has_a_token(another: Starter) -> None:
    egress = another().start()
    # mitmproxy writes what it knows about itself on this signal.
    egress.process.send_signal(signal.SIGUSR1)
    assert status(egress, "open.example.com") == 200
    assert egress.stop() == 0
    everything = "".join(egress.output)
    assert all(token not in everything for token in TOKENS.values())
