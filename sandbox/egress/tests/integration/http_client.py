"""httpx, speaking the one version of HTTP that a test wants."""

import ssl

import httpx

from tests.integration.egress_process import EgressProcess


class _OneVersion(ssl.SSLContext):
    """Offers what it is told; httpx would always offer HTTP/1.1 first, and mitmproxy take it."""

    offer = "http/1.1"

    def set_alpn_protocols(self, _: object) -> None:
        super().set_alpn_protocols([self.offer])


def http_client(egress: EgressProcess, version: str) -> httpx.Client:
    """A client of egress that trusts its CA; for version "1.1" or "2"."""
    trust = _OneVersion(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(egress.ca_file)
    trust.offer = "h2" if version == "2" else "http/1.1"

    def check(response: httpx.Response) -> None:
        assert response.http_version == f"HTTP/{version}"

    return httpx.Client(
        proxy=egress.url,
        verify=trust,
        trust_env=False,
        timeout=60,
        http2=version == "2",
        event_hooks={"response": [check]},
    )
