#!/opt/mitmproxy/bin/python3
"""NOT pipelock: what stands in its place in local images where the real one can't be had.

A forward proxy that shows that the bundle is wired up as it should be. It knows pipelock's
allow-list, its CA, its passthrough domains, its scan API, its signals and one single pattern of a
secret, and refuses in its words. It has no SSRF guard, does not look into answers, and proves nothing about
what pipelock finds. It is for tests alone.
"""

import argparse
import asyncio
import datetime
import json
import os
import re
import signal
import sys
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mitmproxy import http, options, tls
from mitmproxy.tools.dump import DumpMaster
from ruamel.yaml import YAML

NOTICE = "STAND-IN, NOT PIPELOCK: it finds one kind of key only, and is for tests alone"
SECRET = re.compile(rb"AKIA[A-Z0-9]{16}")
IGNORED = (b"authorization",)
DEFAULT_MAX_BODY = 5 * 1024 * 1024


def say(text: str) -> None:
    """A line of the log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fail(text: str) -> NoReturn:
    """Ends as pipelock does when its configuration is wrong."""
    sys.stderr.write(f"stand-in for pipelock: {text}\n")
    sys.exit(1)


def covers(pattern: str, host: str) -> bool:
    """Whether it is that host; `*.` stands for the names below and for the name itself."""
    base = pattern.removeprefix("*.")
    return host == base or (base != pattern and host.endswith(f".{base}"))


class Config:
    """The few keys of pipelock.yaml that the stand-in heeds."""

    def __init__(self, file: Path) -> None:
        fields: Any = YAML(typ="safe").load(file.read_text())
        if fields.get("mode") != "strict" or not fields.get("api_allowlist"):
            raise ValueError("mode has to be strict, with an api_allowlist")
        interception = fields["tls_interception"]
        self.allowed: list[str] = fields["api_allowlist"]
        self.passthrough: list[str] = interception.get("passthrough_domains") or []
        self.certificate = Path(interception["ca_cert"])
        self.key = Path(interception["ca_key"])
        scanning = fields["request_body_scanning"]
        self.max_body: int = scanning.get("max_body_bytes", DEFAULT_MAX_BODY)
        self.scan_api: str | None = (fields.get("scan_api") or {}).get("listen")

    def allows(self, host: str) -> bool:
        """Whether requests to it may leave."""
        return any(covers(pattern, host) for pattern in self.allowed)

    def passes(self, host: str) -> bool:
        """Whether its TLS is left alone."""
        return any(covers(pattern, host) for pattern in self.passthrough)


def deny(flow: http.HTTPFlow, reason: str) -> None:
    """Answers 403 in its words."""
    flow.request.stream = False
    flow.response = http.Response.make(403, f"{reason}\n", {"Content-Type": "text/plain"})
    say(f'blocked {flow.request.method} {flow.request.host}: "{reason}"')


def deny_all(flow: http.HTTPFlow) -> None:
    """Answers while the kill switch is on."""
    flow.request.stream = False
    fields = {"Content-Type": "application/json"}
    flow.response = http.Response.make(503, '{"error":"kill_switch_active"}\n', fields)


class StandIn:
    """The addon."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.config = Config(file)
        self._denies_all = False

    def running(self) -> None:
        """Once the port is open."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR1, self._toggle)

    def _reload(self) -> None:
        try:
            self.config = Config(self._file)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            say(f"reload failed, the old configuration stays: {error}")
        else:
            say('{"event":"config_reload","status":"success"}')

    def _toggle(self) -> None:
        self._denies_all = not self._denies_all
        say(f"kill switch: {'on' if self._denies_all else 'off'}")

    def _refusal(self, host: str) -> str | None:
        return None if self.config.allows(host) else f"domain not in allowlist: {host}"

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """A tunnel is asked for."""
        refusal = self._refusal(flow.request.host)
        if self._denies_all:
            deny_all(flow)
        elif refusal:
            deny(flow, f"CONNECT blocked: {refusal}")

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """TLS begins in a tunnel."""
        address = data.context.server.address
        data.ignore_connection = address is not None and self.config.passes(address[0])

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """A request, its body not read yet."""
        in_tunnel = flow.server_conn.address is not None
        if not in_tunnel and not flow.request.authority and flow.request.path == "/health":
            flow.response = http.Response.make(200, '{"status": "healthy"}\n')
            return
        if self._is_scan(flow):
            return
        refusal = self._refusal(flow.request.host)
        headers = flow.request.headers
        # What would upgrade the connection, or compress the answer.
        for name in ("upgrade", "accept-encoding"):
            headers.pop(name, None)
        if self._denies_all:
            deny_all(flow)
        elif refusal:
            deny(flow, f"blocked: {refusal}")
        elif any(SECRET.search(value) for name, value in headers.fields if name.lower() not in IGNORED):
            deny(flow, "blocked: request header contains secret")
        elif SECRET.search(flow.request.path.encode()):
            deny(flow, "blocked: core DLP match: AWS Access ID (critical)")
        elif "content-encoding" in headers:
            deny(flow, "blocked: compressed request body cannot be scanned")
        elif int(flow.request.headers.get("content-length", 0)) > self.config.max_body:
            deny(flow, f"blocked: request body exceeds max_body_bytes ({self.config.max_body})")

    def request(self, flow: http.HTTPFlow) -> None:
        """A request, whole."""
        if self._is_scan(flow):
            flow.response = self._verdict(flow)
        elif flow.response is None and SECRET.search(flow.request.content or b""):
            deny(flow, "blocked: request body contains secret: AWS Access ID")

    def _is_scan(self, flow: http.HTTPFlow) -> bool:
        """Whether it came to the scan API."""
        own = f"{flow.client_conn.sockname[0]}:{flow.client_conn.sockname[1]}"
        return own == self.config.scan_api and flow.request.path == "/api/v1/scan"

    def _verdict(self, flow: http.HTTPFlow) -> http.Response:
        asked: Any = json.loads(flow.request.content or b"{}")
        given = asked.get("input", {})
        text = given.get("url") or given.get("text") or ""
        host = urllib.parse.urlsplit(given.get("url", "")).hostname
        found = []
        if SECRET.search(text.encode()):
            found.append({"message": "Secret-like token detected (AWS Access ID)"})
        if host is not None and not self.config.allows(host):
            found.append({"message": f"domain not in allowlist: {host}"})
        verdict = {"status": "completed", "decision": "deny" if found else "allow"}
        return http.Response.make(200, json.dumps(verdict | {"findings": found}))

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """An answer, its body not read yet."""
        if flow.response is not None:
            flow.response.stream = True


def make_ca(directory: Path) -> None:
    """ca.pem and ca-key.pem, as `pipelock tls init` makes them."""
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / "ca.pem").exists():
        fail(f"{directory / 'ca.pem'} is there already")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in for pipelock")])
    now = datetime.datetime.now(datetime.UTC)
    authority = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    (directory / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (directory / "ca-key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            # As pipelock writes it, and wants it: it can take over the volume of an image with
            # the stand-in.
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


async def serve(file: Path, listen: str) -> None:
    """Until TERM or INT."""
    addon = StandIn(file)
    host, _, port = listen.rpartition(":")
    # The root is read-only, and mitmproxy wants its CA as key and certificate in one file.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as confdir:
        authority = Path(confdir, "mitmproxy-ca.pem")
        authority.touch(mode=0o600)
        authority.write_bytes(addon.config.key.read_bytes() + addon.config.certificate.read_bytes())
        wanted = options.Options(confdir=confdir, listen_host=host, listen_port=int(port))
        modes = ["regular"]
        if addon.config.scan_api:
            modes.append(f"regular@{addon.config.scan_api}")
        master = DumpMaster(wanted, with_termlog=False, with_dumper=False)
        # Addons of its own bring these.
        master.options.update(
            mode=modes,
            connection_strategy="lazy",
            ssl_verify_upstream_trusted_ca=os.environ.get("SSL_CERT_FILE"),
            stream_large_bodies="5m",
        )
        master.addons.add(addon)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, master.shutdown)
        await master.run()


def main() -> None:
    """The part of pipelock's command line that the image uses."""
    parser = argparse.ArgumentParser(prog="pipelock", description=NOTICE)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version")
    run = commands.add_parser("run")
    run.add_argument("--config", type=Path, required=True)
    run.add_argument("--listen", default="127.0.0.1:8888")
    init = commands.add_parser("tls").add_subparsers(required=True).add_parser("init")
    init.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    say(NOTICE)
    if given.command == "tls":
        make_ca(given.out)
    elif given.command == "run":
        try:
            asyncio.run(serve(given.config, given.listen))
        except (OSError, ValueError, KeyError, TypeError) as error:
            fail(f"{given.config}: {error}")


if __name__ == "__main__":
    main()
