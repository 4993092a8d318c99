//! The agent's clones, fetches and pushes, through git-gate, and what of them reaches upstream.

pub mod memory;
mod shapes;
pub mod upstream;

use serde_json::{Value, json};

use crate::running::Running;
use crate::world::{Said, World, exec, is_there};

const RULE: &str = "aws-access-token";
const GIT: &str = "git://git-gate";
const HTTP: &str = "http://git-gate:9420";
/// What the scripts of the agent begin with. Its secret is their first argument.
const BEGIN: &str = "
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.com GIT_TERMINAL_PROMPT=0
export GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.com
secret=$1
line() { printf 'first line\\nid = %s\\n' \"$secret\"; }
commit() { git add -A; git commit -q --allow-empty -m \"${1:-a change}\"; }
# Only a push that is refused ends with 7; whatever goes wrong before, with something else.
push() { git push origin \"$@\" || exit 7; }
";
const REFUSED: i32 = 7;

/// A key that is none: it only looks like one. In two parts, so that this file does not.
fn secret() -> String {
    ["AKIA", "IEQH746YNG7BY3A4"].concat()
}

/// Runs a script as the agent, in its home.
fn run(world: &World, script: &str) -> Said {
    let script = format!("{BEGIN}cd /tmp\n{script}");
    world.agent(&["sh", "-euc", &script, "sh", &secret()])
}

/// Runs it, and it has to succeed; its stdout.
fn ok(world: &World, script: &str) -> String {
    let said = run(world, script);
    assert_eq!(said.code, 0, "{script}: {said:?}");
    said.stdout.trim().to_owned()
}

/// Runs it, and its push has to be refused; what the agent reads.
pub fn refused(world: &World, script: &str) -> String {
    let said = run(world, script);
    assert_eq!(said.code, REFUSED, "{script}: {said:?}");
    said.stderr
}

/// Only the gate, and what it needs.
fn gate_alone(gate: &str) -> World {
    upstream::start(upstream::setup(gate).environment("CLAUDE_BOTTLE_SIDECAR_DAEMONS", "git-gate"))
}

/// The same, in a container with this much memory.
fn gate_within(memory: &str) -> World {
    let setup = upstream::setup("").environment("CLAUDE_BOTTLE_SIDECAR_DAEMONS", "git-gate");
    let setup = setup.option(&format!("--memory={memory}"));
    upstream::start(setup.option(&format!("--memory-swap={memory}")))
}

/// The gate's log about this.
fn events(world: &World, event: &str) -> Vec<Value> {
    let log = world.sidecars.stderr() + &world.sidecars.stdout();
    let own = log.lines().filter_map(|line| line.strip_prefix("[git-gate] "));
    let parsed = own.filter_map(|line| serde_json::from_str(line).ok());
    parsed.filter(|line: &Value| line["event"] == event).collect()
}

#[test]
fn clone_fetch_pull_and_push_are_of_what_upstream_is_now() {
    if !is_there() {
        return;
    }
    let world = gate_alone("");
    for (name, url) in [("git", GIT), ("http", HTTP)] {
        let first = upstream::commit(&world, &format!("{name}-1"));
        let clone = format!("git clone -q {url}/app.git {name}; cd {name}; git rev-parse HEAD");
        assert_eq!(ok(&world, &clone), first);
        let second = upstream::commit(&world, &format!("{name}-2"));
        let fetch = format!("cd {name}; git fetch -q; git rev-parse origin/main");
        assert_eq!(ok(&world, &fetch), second);
        let third = upstream::commit(&world, &format!("{name}-3"));
        let pull = format!("cd {name}; git pull -q; cat {name}-3; git rev-parse HEAD");
        assert_eq!(ok(&world, &pull), format!("theirs\n{third}"));
        let push =
            format!("cd {name}; echo mine > mine; commit; git rev-parse HEAD; push HEAD:{name}");
        let mine = ok(&world, &push);
        let refs = upstream::everything(&world);
        assert!(refs.contains(&format!("{mine} commit\trefs/heads/{name}")), "{refs}");
        assert_eq!(upstream::mirror(&world), refs);
    }

    let gone =
        "git-gate: refused: upstream of \"app\" can't be reached: the connection was refused";
    let before = upstream::everything(&world);
    upstream::down(&world);
    for (name, url) in [("git", GIT), ("http", HTTP)] {
        for script in [
            format!("git clone {url}/app.git other-{name} || exit 7"),
            format!("cd {name}; git fetch || exit 7"),
            format!("cd {name}; echo more >> mine; commit; push HEAD:{name}"),
        ] {
            let said = refused(&world, &script);
            assert!(said.contains(gone), "{said}");
        }
    }
    upstream::up(&world);
    assert_eq!(upstream::everything(&world), before);
    // The same commits, now that somebody takes them.
    ok(&world, "cd git; push HEAD:git");

    let impostor = "upstream of \"impostor\" can't be reached: its host key is not the pinned one";
    let absent = "upstream of \"absent\" can't be reached: the connection was refused";
    let before = upstream::everything(&world);
    for (name, reason) in [("impostor", impostor), ("absent", absent)] {
        let said = refused(&world, &format!("git clone {GIT}/{name}.git {name} || exit 7"));
        assert!(said.contains(reason), "{said}");
        let push =
            format!("cd git; echo {name} > mine; commit; git push {GIT}/{name}.git HEAD || exit 7");
        let said = refused(&world, &push);
        assert!(said.contains(reason), "{said}");
    }
    assert_eq!(upstream::everything(&world), before);
}

#[test]
fn a_push_that_hangs_is_ended_and_the_next_one_arrives() {
    if !is_there() {
        return;
    }
    let world = gate_alone("idle-timeout = \"8s\"");
    ok(&world, &format!("git clone -q {GIT}/app.git client"));
    hang(&world, |_| {});
    let cut = events(&world, "session-cut");
    assert_eq!((&cut[0]["protocol"], &cut[0]["reason"]), (&json!("git"), &json!("idle-timeout")));
    ok(&world, "cd client; echo 1 > a; commit; push main");

    // What takes a session's git away ends this session, and nothing else.
    hang(&world, |receive_pack| {
        let kill = format!("kill -KILL {receive_pack}");
        let killed = exec(&world.sidecars, &["--user=git-gate"], &["sh", "-c", &kill]);
        assert_eq!(killed.code, 0, "{killed:?}");
    });
    assert_eq!(events(&world, "session-cut").len(), 1);
    ok(&world, "cd client; echo 2 > a; commit; push main");
    assert_eq!(world.operator(&["sidecar-init", "health"]).code, 0);
    assert_eq!(events(&world, "serving").len(), 1, "it was started again");
}

/// A push that hangs until the gate closes its connection; none of its processes is left then.
fn hang(world: &World, meanwhile: impl FnOnce(&str)) {
    let mut hanging = Running::python(&world.agent, HANG);
    assert_eq!(hanging.line(), "begun");
    let running = processes(world);
    let is_it = |command: &str| command.split(' ').nth(1) == Some("receive-pack");
    let receive_pack = running.iter().find(|(_, command)| is_it(command));
    meanwhile(&receive_pack.unwrap_or_else(|| panic!("{running:?}")).0);
    assert_eq!(hanging.line(), "closed");
    for (id, _) in running {
        // Returns when it has ended.
        exec(&world.sidecars, &[], &["tail", "-s", "0.1", "-f", "/dev/null", "--pid", &id]);
    }
    assert_eq!(processes(world), []);
}

/// Begins a push as git does, reads the first of the list of refs, and says nothing more.
const HANG: &str = "
import socket
connection = socket.create_connection(('git-gate', 9418))
request = b'git-receive-pack /app.git\\0host=git-gate\\0'
connection.sendall(b'%04x%s' % (len(request) + 4, request))
refs = connection.recv(8)
assert refs and b'ERR' not in refs, refs
print('begun', flush=True)
try:
    while connection.recv(65536):
        pass
except ConnectionResetError:
    pass
print('closed')
";

/// The gate's processes beside itself: id in the container, and command line.
fn processes(world: &World) -> Vec<(String, String)> {
    let script = "
        for folder in /proc/[0-9]*; do
            id=${folder#/proc/}
            [ \"$id\" != $$ ] && [ \"$(stat -c %U \"$folder\")\" = git-gate ] || continue
            printf '%s ' \"$id\"; tr '\\0' ' ' < \"$folder/cmdline\"; echo
        done 2>/dev/null; true";
    let said = exec(&world.sidecars, &[], &["sh", "-c", script]);
    assert_eq!(said.code, 0, "{said:?}");
    let lines = said.stdout.lines().filter_map(|line| line.split_once(' '));
    let others = lines.filter(|(_, command)| !command.contains("git-gate serve"));
    others.map(|(id, command)| (id.to_owned(), command.trim().to_owned())).collect()
}

#[test]
fn an_exception_that_the_operator_approves_lets_that_push_through() {
    if !is_there() {
        return;
    }
    let selection = ("CLAUDE_BOTTLE_SIDECAR_DAEMONS", "git-gate,supervise");
    let world = upstream::start(upstream::setup("").environment(selection.0, selection.1));
    let begin = format!(
        "git clone -q {GIT}/app.git client; cd client; line > example.md; commit; push main"
    );
    let said = refused(&world, &begin);
    let fingerprint =
        said.lines().find_map(|line| line.split_once("fingerprint ")).unwrap().1.trim();

    let exception = json!({
        "repository": "app", "fingerprint": fingerprint, "justification": "an example of the vendor's"
    });
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "propose_gitleaks_exception", "arguments": exception}
    });
    let [kind, accepted] =
        ["Content-Type: application/json", "Accept: application/json, text/event-stream"];
    let url = "http://supervise:9100/mcp";
    let said = world.curl(&["-H", kind, "-H", accepted, "-d", &call.to_string(), url]);
    assert!(said.stdout.contains("pending"), "{said:?}");
    // Asking is not enough.
    refused(&world, "cd client; push main");

    let list = world.operator(&["supervise", "list", "--json"]);
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let id = list["proposals"][0]["id"].as_str().unwrap();
    let approved = world.operator(&["supervise", "approve", id, "--yes"]);
    assert_eq!(approved.code, 0, "{approved:?}");
    let head = ok(&world, "cd client; push main; git rev-parse HEAD");
    let refs = upstream::everything(&world);
    assert!(refs.contains(&format!("{head} commit\trefs/heads/main")), "{refs}");
    // It holds for that file only.
    let said = refused(&world, "cd client; line > other.md; commit; push main");
    assert!(said.contains(&format!("{RULE} in other.md, line 2")), "{said}");
}
