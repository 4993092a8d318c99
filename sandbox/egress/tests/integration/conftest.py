"""One upstream, stand-in proxy and egress for all tests that leave them as they are."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.egress_process import EgressProcess, copy_of_the_program
from tests.integration.http_client import http_client
from tests.integration.stand_in_proxy import StandInProxy
from tests.integration.upstream import Upstream

TOKEN = "t0ken-of-the-operator"
PASSWORD = "user:passw0rd-of-the-operator"
ROUTES = """\
routes:
  - host: api.example.com
    paths: ["/v1/"]
    methods: [GET, HEAD, POST, PUT]
    auth: {scheme: bearer, token_env: EGRESS_TOKEN_1}
  - host: basic.example.com
    auth: {scheme: basic, token_env: EGRESS_TOKEN_BASIC}
  - host: open.example.com
  - host: odd.example.com
    ports: [8443]
  - host: inspected.example.com
  - host: old.example.com
  - host: cut.example.com
  - host: long.example.com
"""
TOKENS = {"EGRESS_TOKEN_1": TOKEN, "EGRESS_TOKEN_BASIC": PASSWORD}

Starter = Callable[..., EgressProcess]


@pytest.fixture(scope="session")
def session_upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    upstream = Upstream(tmp_path_factory.mktemp("upstream"))
    upstream.start()
    yield upstream
    upstream.stop()


@pytest.fixture(scope="session")
def session_proxy(session_upstream: Upstream) -> Iterator[StandInProxy]:
    proxy = StandInProxy(session_upstream)
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture(scope="session")
def session_egress(
    tmp_path_factory: pytest.TempPathFactory,
    session_upstream: Upstream,
    session_proxy: StandInProxy,
) -> Iterator[EgressProcess]:
    egress = EgressProcess(
        tmp_path_factory.mktemp("egress"),
        session_proxy.port,
        session_upstream.ca_file,
        ROUTES,
        TOKENS,
    ).start()
    yield egress
    assert egress.stop() == 0
    # The last word on all that happened in the session.
    everything = "".join(egress.output)
    for secret in (TOKEN, PASSWORD, "dXNlcjpw", "query-s3cret", "agent-s3cret"):
        assert secret not in everything
    assert "internal-error" not in everything
    assert "Traceback" not in everything


@pytest.fixture
def upstream(session_upstream: Upstream) -> Upstream:
    session_upstream.seen.clear()
    session_upstream.first_event_read.clear()
    return session_upstream


@pytest.fixture
def proxy(session_proxy: StandInProxy) -> StandInProxy:
    session_proxy.asked.clear()
    return session_proxy


@pytest.fixture
def egress(session_egress: EgressProcess, upstream: Upstream, proxy: StandInProxy) -> EgressProcess:
    """The shared one, with what reached the upstream before forgotten."""
    return session_egress


@pytest.fixture
def trust(egress: EgressProcess) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(egress.ca_file))


@pytest.fixture(params=["1.1", "2"], ids=["http1-client", "http2-client"])
def client(request: pytest.FixtureRequest, egress: EgressProcess) -> Iterator[httpx.Client]:
    with http_client(egress, request.param) as client:
        yield client


@pytest.fixture
def nothing_leaves(upstream: Upstream, proxy: StandInProxy) -> Iterator[None]:
    """Not one connection was opened by the end of the test."""
    yield
    assert proxy.asked == []
    assert upstream.seen == []


@pytest.fixture
def another(tmp_path: Path, upstream: Upstream, proxy: StandInProxy) -> Iterator[Starter]:
    """Makes an egress of the test's own; not started yet."""
    made: list[EgressProcess] = []

    def make(routes: str | None = ROUTES, **changes: object) -> EgressProcess:
        arguments = {"upstream_port": proxy.port, "tokens": TOKENS} | changes
        egress = EgressProcess(
            tmp_path,
            upstream_ca=upstream.ca_file,
            routes=routes,
            **arguments,  # type: ignore[arg-type]
        )
        made.append(egress)
        return egress

    yield make
    for egress in made:
        if hasattr(egress, "process") and egress.process.poll() is None:
            egress.stop()


@pytest.fixture
def entrypoint(tmp_path: Path) -> Path:
    program = tmp_path / "program"
    program.mkdir()
    return copy_of_the_program(program)
