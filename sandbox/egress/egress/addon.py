"""mitmproxy's hooks. They observe, ask `decision.py`, and obey.

Each hook is `guarded`: mitmproxy would let a request through whose hook has failed.
"""

import asyncio
import functools
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mitmproxy import addonmanager, connection, ctx, dns, flow, http, tcp, tls, udp, version
from mitmproxy.proxy import server_hooks

from egress import (
    answer,
    bounded_websocket,
    ca,
    decision,
    framing,
    guarded_stream,
    headers,
    inspected_bodies,
    mitmproxy_changes,
    query_parameter,
)
from egress.active_routes import ActiveRoutes
from egress.content_decoding import Undecodable
from egress.echo import EchoRefused
from egress.guarded_stream import Permit
from egress.hostname import DEFAULT_PORTS, canonical_name
from egress.log import Log, MitmproxyLog, place, without_quotes
from egress.mitmproxy_options import Option, option_problems, upstream_of
from egress.placeholders import Leak, holds
from egress.routes import Auth
from egress.routes_file import BadRoutes
from egress.settings import Settings
from egress.token_sources import TokenSources

# sysexits(3): the configuration is wrong; and: this should not happen.
EX_CONFIG = 78
EX_SOFTWARE = 70

_KILLED = "egress has not let this out"
_NOT_GZIP = "the body is not the gzip that its Content-Encoding says, or not all of it"


def refuse(problems: Sequence[str]) -> NoReturn:
    """Says what is wrong and ends the process."""
    for problem in problems:
        sys.stderr.write(f"egress: {problem}\n")
    raise SystemExit(EX_CONFIG)


def guarded[Data](hook: Callable[["Egress", Data], None]) -> Callable[["Egress", Data], None]:
    """Whatever goes wrong in this hook, the request or connection it is about goes nowhere."""

    @functools.wraps(hook)
    def wrapper(self: "Egress", data: Data) -> None:
        try:
            hook(self, data)
        except Exception as error:  # noqa: BLE001 - that is what a guard is for
            shut(data, hook.__name__)
            self.log.write("internal-error", hook=hook.__name__, error=place(error))

    return wrapper


def guarded_async[Data](
    hook: Callable[["Egress", Data], Awaitable[None]],
) -> Callable[["Egress", Data], Awaitable[None]]:
    """The same of a hook that may wait."""

    @functools.wraps(hook)
    async def wrapper(self: "Egress", data: Data) -> None:
        try:
            await hook(self, data)
        except Exception as error:  # noqa: BLE001 - that is what a guard is for
            shut(data, hook.__name__)
            self.log.write("internal-error", hook=hook.__name__, error=place(error))

    return wrapper


def shut(data: object, hook: str) -> None:
    """Stops what the data of a hook is about."""
    if isinstance(data, http.HTTPFlow):
        guarded_stream.revoke(data)
        if hook in {"requestheaders", "http_connect"}:
            deny = decision.Deny(decision.Reason.INTERNAL, "egress failed to decide; see its log")
            respond(data, answer.denial(deny, "", "", 0, ""))
        else:
            kill(data)
    elif isinstance(data, server_hooks.ServerConnectionHookData):
        data.server.error = _KILLED
    elif isinstance(data, flow.Flow):
        kill(data)


def kill(any_flow: flow.Flow) -> None:
    """Ends it without an answer."""
    if any_flow.killable:
        any_flow.kill()  # type: ignore[no-untyped-call]


def respond(http_flow: http.HTTPFlow, what: answer.Answer) -> None:
    """Answers the request here."""
    # Told to go on, the client would send a body that nobody reads.
    http_flow.request.headers.pop("expect", None)
    http_flow.request.stream = False
    http_flow.response = response_of(http_flow, what)


def response_of(http_flow: http.HTTPFlow, what: answer.Answer) -> http.Response:
    """An answer of ours, as mitmproxy sends it."""
    fields = {"Content-Type": what.content_type, "Cache-Control": "no-store"}
    body = b"" if http_flow.request.method == "HEAD" else what.body
    return http.Response.make(what.status, body, fields)


def observe(http_flow: http.HTTPFlow) -> decision.Request:
    """The request as it came."""
    request = http_flow.request
    fields = tuple(request.headers.fields)
    hosts = [value.decode("latin-1") for value in headers.values(fields, b"host")]
    # Only a tunnel has an address before the request was sent on.
    tunnel = http_flow.server_conn.address
    return decision.Request(
        # The property would show "get" as "GET", but "get" is what is sent on.
        method=request.data.method.decode("latin-1"),
        scheme=request.scheme,
        host=request.host,
        port=request.port,
        target=request.path,
        tunnel=(tunnel[0], tunnel[1]) if tunnel else None,
        sni=http_flow.client_conn.sni,
        authorities=(*([request.authority] if request.authority else ()), *hosts),
        origin_form=tunnel is None and not request.authority,
        headers=fields,
    )


class Egress:
    """The addon."""

    def __init__(self, settings: Settings, sources: TokenSources, log: Log) -> None:
        self.log = log
        self._settings = settings
        self._routes = ActiveRoutes(settings.routes_file, sources, log)
        self._ca_certificate: bytes | None = None
        self._upstream: tuple[str, int] | None = None
        # Clients of which at least one request may leave.
        self._permitted: set[str] = set()
        # Clients whose last request is for a WebSocket. They speak HTTP/1.1, where nothing else is
        # on its way meanwhile.
        self._upgrading: set[str] = set()
        self._leaving = False

    # Life cycle

    def load(self, _loader: addonmanager.Loader) -> None:
        """Refuses to start while the port is not open yet."""
        manager: Any = ctx.options
        options = {
            name: Option(option.current(), option.default) for name, option in manager.items()
        }
        problems = option_problems(options, manager.deferred, version.VERSION)
        try:
            self._routes.read()
        except BadRoutes as error:
            problems += [str(problem) for problem in error.problems]
        if problems:
            refuse(problems)
        self._upstream = upstream_of(ctx.options.mode)
        mitmproxy_changes.install()
        self._take_over_the_log()

    def _take_over_the_log(self) -> None:
        addons: Any = ctx.master.addons
        own = addons.get("termlog")
        if own is not None:
            own.uninstall()
        logging.getLogger().addHandler(MitmproxyLog(self.log))

    def running(self) -> None:
        """Puts the routes in force; the port is open already, and has denied everything."""
        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._routes.reload)
            self._publish_ca()
            self._routes.load()
        except BadRoutes as error:
            self._leaving = True
            refuse([str(problem) for problem in error.problems])
        except (OSError, ValueError) as error:
            self._leaving = True
            refuse([f"the CA's certificate can't be handed out: {error}"])

    def done(self) -> None:
        """Ends the process when it is only this addon that mitmproxy takes out."""
        if not self._leaving and not ctx.master.should_exit.is_set():
            self._leaving = True
            self.log.write("internal-error", hook="done", error="the addon was unloaded")
            raise SystemExit(EX_SOFTWARE)

    def _publish_ca(self) -> None:
        problem = ca.key_problem(Path(ctx.options.confdir).expanduser() / "mitmproxy-ca.pem")
        if problem:
            self._leaving = True
            refuse([problem])
        addons: Any = ctx.master.addons
        certificate: bytes = addons.get("tlsconfig").certstore.default_ca.to_pem()
        if self._settings.ca_file:
            ca.export_certificate(certificate, self._settings.ca_file)
        self._ca_certificate = certificate

    # Decisions

    @guarded
    def http_connect(self, http_flow: http.HTTPFlow) -> None:
        """A tunnel is asked for."""
        request = http_flow.request
        denied = decision.decide_connect(
            self._routes.routes, request.host, request.port, http_flow.client_conn.tls
        )
        fields = tuple(request.headers.fields)
        if leak := self._routes.placeholders.leak(request.host, "", fields, []):
            denied = self._leaked(http_flow, leak)
        if denied:
            self._deny(http_flow, denied, "")
            # Most clients show nothing of a failed CONNECT but its reason phrase.
            if http_flow.response:
                http_flow.response.reason = f"Forbidden by egress: {denied.reason.value}"
        self._log_decision(http_flow, denied)

    @guarded_async
    async def requestheaders(self, http_flow: http.HTTPFlow) -> None:
        """The head of a request is here; nothing of it has left, nor of its body."""
        if http_flow.error:
            # mitmproxy has found the request malformed, and answers it with 400.
            malformed = decision.Deny(decision.Reason.HEADERS, "mitmproxy refuses this request")
            self._log_decision(http_flow, malformed)
            return
        observed = observe(http_flow)
        match self._decide(http_flow, observed):
            case decision.Own(path):
                state = self._routes.state(self._ca_certificate)
                respond(http_flow, answer.own(path, observed.method, state))
            case decision.Deny() as denied:
                self._deny(http_flow, denied, observed.target)
                self._log_decision(http_flow, denied)
            case decision.Allow() as allowed:
                if by_pipelock := await self._scan(allowed, observed):
                    self._deny(http_flow, by_pipelock, observed.target)
                    self._log_decision(http_flow, by_pipelock)
                    return
                # Logged first: what can't be logged does not leave.
                self._log_decision(http_flow, allowed, injected_in(allowed, observed))
                self._allow(http_flow, allowed, observed)

    async def _scan(
        self, allowed: decision.Allow, observed: decision.Request
    ) -> decision.Deny | None:
        """What pipelock says where it does not look into TLS itself."""
        if allowed.route.scans_responses:
            return None
        api = self._settings.scan_api
        if api is None:
            return decision.Deny(decision.Reason.SCAN, "EGRESS_SCAN_API is not set")
        port = "" if observed.port == DEFAULT_PORTS["https"] else f":{observed.port}"
        # Without the credential, which is meant to leave, and what stands in its place.
        auth, target = allowed.route.auth, observed.target
        if auth and auth.parameter:
            target = query_parameter.without(target, auth.parameter)
        url = f"https://{allowed.host}{port}{target}"
        fields = headers.forwarded(observed.headers, allowed.route, None, self._routes.reserved)
        refusal = await asyncio.to_thread(api.refusal, url, fields)
        return decision.Deny(decision.Reason.SCAN, refusal) if refusal else None

    def _decide(
        self, http_flow: http.HTTPFlow, observed: decision.Request
    ) -> decision.Allow | decision.Deny | decision.Own:
        """Whether it may leave by a route; with a placeholder in a wrong place it may not."""
        decided = decision.decide(self._routes.routes, observed)
        if isinstance(decided, decision.Own):
            return decided
        if isinstance(decided, decision.Allow):
            own = [decided.route.auth] if decided.route.auth else []
        else:
            # Of its own host any place of one is right: what is wrong is something else.
            own = self._routes.routes.credentials(canonical_name(observed.host) or "")
        placeholders = self._routes.placeholders
        leak = placeholders.leak(observed.host, observed.target, observed.headers, own)
        return self._leaked(http_flow, leak) if leak else decided

    def _leaked(self, http_flow: http.HTTPFlow, leak: Leak) -> decision.Deny:
        """An attempted leak is an event of its own."""
        self.log.write(
            "placeholder-leak",
            token=leak.token,
            place=leak.place,
            host=http_flow.request.host,
            client=_client(http_flow.client_conn),
        )
        return decision.Deny(decision.Reason.LEAK, str(leak))

    @guarded
    def request(self, http_flow: http.HTTPFlow) -> None:
        """The whole request is here; unless it was answered, its body has left already."""
        if http_flow.response is None and guarded_stream.permit_of(http_flow) is None:
            raise RuntimeError("a request without a decision")
        # They are headers that were not there when it was decided.
        http_flow.request.trailers = None

    @guarded
    def responseheaders(self, http_flow: http.HTTPFlow) -> None:
        """The head of the response is here."""
        permit = guarded_stream.permit_of(http_flow)
        response = http_flow.response
        if permit is None or response is None:
            raise RuntimeError("a response without a permit")
        if response.status_code == 101:
            if not permit.websocket:
                raise RuntimeError("a switch to a protocol that was not asked for")
            # None was asked for, and mitmproxy would unpack messages of any size.
            response.headers.pop("Sec-WebSocket-Extensions", None)
        else:
            framing.frame_response(http_flow.request, response)
            if permit.websocket:
                # What was made for it would be HTTP/1.1 for the next request too.
                response.headers["Connection"] = "close"
            response.stream = True
        inspected_bodies.search_answer_head(http_flow, self._refuse_echo(http_flow))

    @guarded
    def response(self, http_flow: http.HTTPFlow) -> None:
        """The whole response is here; unless it was made here, its body has gone already."""
        inspected_bodies.search_whole_answer(http_flow, self._refuse_echo(http_flow))
        if http_flow.response and not http_flow.request.is_http2:
            # mitmproxy fails at trailers of an HTTP/2 response that go to an HTTP/1 client.
            http_flow.response.trailers = None

    @guarded
    def websocket_start(self, http_flow: http.HTTPFlow) -> None:
        """A WebSocket begins."""
        permit = guarded_stream.permit_of(http_flow)
        if permit is None or not permit.websocket:
            raise RuntimeError("a WebSocket without a permit")

    @guarded
    def websocket_message(self, http_flow: http.HTTPFlow) -> None:
        """A message passes; mitmproxy would keep all of them."""
        if http_flow.websocket and http_flow.websocket.messages:
            message = http_flow.websocket.messages[-1]
            content = self._searched(http_flow, message.from_client, message.content)
            if content is None:
                message.drop()  # type: ignore[no-untyped-call]
            else:
                message.content = content
            http_flow.websocket.messages.clear()

    def _searched(
        self, http_flow: http.HTTPFlow, from_client: bool, content: bytes
    ) -> bytes | None:
        """What may go on of what a WebSocket's frames say."""
        if from_client:
            leak = self._routes.placeholders.in_message(content)
            if leak:
                self._leaked(http_flow, leak)
            return None if leak else content
        try:
            return inspected_bodies.echoes_of(http_flow).whole(content)
        except EchoRefused as error:
            self._log_echo(http_flow, str(error))
            return None

    @guarded
    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        """A connection is about to be opened: to the upstream proxy, or not at all."""
        if data.client.id not in self._permitted or data.server.address != self._upstream:
            data.server.error = _KILLED
            self.log.write("connection-refused", client=_client(data.client))

    def tls_start_server(self, data: tls.TlsData) -> None:
        """TLS with the upstream begins; this decides on the version of HTTP, and nothing else."""
        upgrading = data.context.client.id in self._upgrading
        data.conn.alpn_offers = (
            guarded_stream.WEBSOCKET_OFFERS if upgrading else guarded_stream.OFFERS
        )

    @guarded
    def tcp_start(self, tcp_flow: tcp.TCPFlow) -> None:
        """Never: only HTTP goes through."""
        raise RuntimeError("raw TCP")

    @guarded
    def udp_start(self, udp_flow: udp.UDPFlow) -> None:
        """Never: only HTTP goes through."""
        raise RuntimeError("raw UDP")

    @guarded
    def dns_request(self, dns_flow: dns.DNSFlow) -> None:
        """Never: only HTTP goes through."""
        raise RuntimeError("DNS")

    def error(self, http_flow: http.HTTPFlow) -> None:
        """Something that was let out has failed."""
        if http_flow.error and guarded_stream.permit_of(http_flow):
            self.log.write(
                "request-failed",
                client=_client(http_flow.client_conn),
                host=http_flow.request.host,
                message=without_quotes(http_flow.error.msg),
            )

    def client_disconnected(self, client: connection.Client) -> None:
        """The client has gone."""
        self._permitted.discard(client.id)
        self._upgrading.discard(client.id)

    def _allow(
        self, http_flow: http.HTTPFlow, allowed: decision.Allow, observed: decision.Request
    ) -> None:
        request = http_flow.request
        auth, injected = allowed.route.auth, injected_in(allowed, observed)
        credentials = self._routes.credentials
        credential = credentials.header(injected) if injected else None
        fields = headers.forwarded(
            observed.headers, allowed.route, credential, self._routes.reserved
        )
        if auth and auth.parameter:
            request.path = query_parameter.without(observed.target, auth.parameter)
            if injected:
                value = credentials.parameter(injected)
                request.path = query_parameter.replaced(request.path, auth.parameter, value)
        if echoes := self._routes.echoes(allowed.host):
            fields = echoes.accepted(fields)
            inspected_bodies.expect_no_echo(http_flow, echoes)
        request.headers = http.Headers(fields)
        # This sets Host and :authority too: upstream sees one spelling in all places.
        request.host = allowed.host
        if observed.tunnel and not request.is_http2:
            request.authority = ""
        request.stream = True
        inspected_bodies.search_request(
            http_flow, self._routes.placeholders, self._refuse_body(http_flow)
        )
        client = http_flow.client_conn.id
        self._permitted.add(client)
        websocket = headers.is_websocket(fields)
        if websocket:
            self._upgrading.add(client)
            bounded_websocket.search(
                http_flow,
                lambda from_client, said: self._searched(http_flow, from_client, said) or b"",
            )
        else:
            self._upgrading.discard(client)
        body = allowed.route.scans_responses
        permit = Permit(request.scheme, request.host, request.port, websocket, body)
        guarded_stream.grant(http_flow, permit)

    def _refuse_body(
        self, http_flow: http.HTTPFlow
    ) -> Callable[[Leak | Undecodable], http.Response]:
        def refuse(why: Leak | Undecodable) -> http.Response:
            request = http_flow.request
            if isinstance(why, Leak):
                denied = self._leaked(http_flow, why)
            else:
                denied = decision.Deny(decision.Reason.ENCODING, _NOT_GZIP)
                self.log.write(
                    "request-failed",
                    client=_client(http_flow.client_conn),
                    host=request.host,
                    message=denied.message,
                )
            said = answer.denial(denied, request.method, request.host, request.port, "")
            return response_of(http_flow, said)

        return refuse

    def _refuse_echo(self, http_flow: http.HTTPFlow) -> Callable[[str], http.Response]:
        def refuse(why: str) -> http.Response:
            self._log_echo(http_flow, why)
            return response_of(http_flow, answer.echo_refused(why))

        return refuse

    def _log_echo(self, http_flow: http.HTTPFlow, why: str) -> None:
        self.log.write(
            "credential-echo",
            host=http_flow.request.host,
            message=why,
            client=_client(http_flow.client_conn),
        )

    @staticmethod
    def _deny(http_flow: http.HTTPFlow, denied: decision.Deny, target: str) -> None:
        request = http_flow.request
        path = target.partition("?")[0]
        respond(
            http_flow,
            answer.denial(denied, request.method, request.host, request.port, path),
        )

    def _log_decision(
        self,
        http_flow: http.HTTPFlow,
        decided: decision.Allow | decision.Deny | None,
        injected: Auth | None = None,
    ) -> None:
        request = http_flow.request
        denied = decided if isinstance(decided, decision.Deny) else None
        route = decided.route if isinstance(decided, decision.Allow) else None
        connect = request.method == "CONNECT"
        # Of what is denied nothing leaves, so there is nothing to take out.
        removed = (
            route is not None
            and headers.has_reserved(request.headers.fields, self._routes.reserved)
            and not (injected and injected.placeholder)
        )
        missing = route is not None and route.auth is not None and injected is None
        self.log.write(
            "decision",
            decision="deny" if denied else "allow",
            reason=denied.reason.value if denied else None,
            message=denied.message if denied else None,
            method=request.method,
            scheme=None if connect else request.scheme,
            host=request.host,
            port=request.port,
            path=None if connect else request.path.partition("?")[0],
            route=route.host if route else None,
            credential=injected.token_env if injected else None,
            placeholder_missing=missing or None,
            authorization_removed=removed or None,
            client=_client(http_flow.client_conn),
        )


def injected_in(allowed: decision.Allow, observed: decision.Request) -> Auth | None:
    """The credential that this request gets: one with a placeholder takes its place alone."""
    auth = allowed.route.auth
    if auth and auth.placeholder and not holds(auth, observed.target, observed.headers):
        return None
    return auth


def _client(client: connection.Client) -> str:
    return str(client.peername[0])
