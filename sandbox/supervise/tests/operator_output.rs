//! What the operator gets to see, at a terminal and elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::process::Stdio;

use harness::{Said, World};
use serde_json::{Value, json};
use test_support::programs::has;
use test_support::{HANG, lines_of};

#[test]
fn an_agents_words_have_no_power_over_the_terminal() {
    let world = World::new();
    let evil = "fine\x1b[2J\x1b]0;title\x07\r\n+ forged line\n\u{202e}txet\u{9b}1A";
    let server = world.serve();
    let answer = server.client().tool(
        "propose_capability",
        json!({"change": format!("RUN true {evil}"), "justification": evil}),
    );
    let id = answer["id"].as_str().unwrap();
    for arguments in [&["show", id][..], &["list"], &["list", "--all"]] {
        let said = world.operator(arguments);
        let harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(said.stdout.chars().all(harmless), "{arguments:?}: {:?}", said.stdout);
        assert!(said.stdout.contains(id), "{arguments:?}");
    }
    // In JSON control characters are escaped anyway, and a program wants the text as it is.
    let shown = world.json(&["show", id, "--json"]);
    assert_eq!(shown["justification"], evil);
    let shown = world.operator(&["show", id]).stdout;
    assert!(shown.contains("    | + forged line\n"), "{shown}");
    assert!(shown.contains("    | fine\\u{1b}[2J"), "{shown}");
}

#[test]
fn what_json_leaves_as_it_is_does_not_reach_a_person() {
    let world = World::new();
    let evil = "a\u{9b}1A\u{7f}\u{202e}\u{3164}\u{e0041}b";
    let server = world.serve();
    let arguments = json!({"change": evil, "justification": evil, "wait_seconds": 0});
    let id =
        server.client().tool("propose_capability", arguments)["id"].as_str().unwrap().to_owned();
    let shown = world.operator(&["show", &id, "--json"]).stdout;
    let queued = world.read(&format!("run/queue/{id}.json"));
    for text in [
        &shown,
        &world.operator(&["show", &id]).stdout,
        &world.operator(&["list", "--json"]).stdout,
        &queued,
        &world.read("run/audit.jsonl"),
    ] {
        assert!(text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{text:?}");
    }
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["justification"], evil);
    assert_eq!(serde_json::from_str::<Value>(&queued).unwrap()["justification"], evil);
}

#[test]
fn an_agents_words_stay_behind_their_bar() {
    let world = World::new();
    let server = world.serve();
    // A terminal would wrap each before "note:" and "---".
    let row = |width: usize, said: &str| format!("{said}{}", " ".repeat(width - said.len()));
    let evil = |width: usize| {
        let first = row(width - 6, "The docs need it.");
        format!("{first}{}--- /etc/egress/routes.yaml", row(width, "note: reviewed 世界"))
    };
    let path = format!("a {}note: harmless", " ".repeat(200));
    let finding = json!({"repository": "app", "fingerprint": format!("aws:{path}:{}", "0".repeat(64)),
        "justification": evil(80), "wait_seconds": 0});
    let change = json!({"change": format!("RUN {}", evil(80)), "justification": evil(60), "wait_seconds": 0});
    let ids = [
        server.client().tool("propose_gitleaks_exception", finding)["id"].clone(),
        server.client().tool("propose_capability", change)["id"].clone(),
    ];
    let check = |shown: &str, width: usize, command: &str| {
        assert!(shown.contains("capability") || shown.contains("exception"), "{command}: {shown}");
        for line in shown.lines() {
            let columns = line.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<usize>();
            let is_ours = line.starts_with("  note: from then on ");
            assert!(columns <= width || is_ours, "{command}: {columns} columns: {line:?}");
            assert!(!["note: ", "--- /etc/egress"].iter().any(|forged| line.starts_with(forged)));
        }
    };
    for id in &ids {
        let command = format!("show {}", id.as_str().unwrap());
        // Without a terminal.
        let words: Vec<&str> = command.split(' ').collect();
        check(&world.operator(&words).stdout, 80, &command);
        for width in [80, 60] {
            if has("script") {
                let mut shown = world.at_terminal_of(width, &command);
                let said = Said::of(shown.env("NO_COLOR", "1").output().unwrap());
                check(&said.stdout.replace('\r', ""), width, &command);
            }
        }
    }
    check(&world.operator(&["list"]).stdout, 80, "list");
}

#[test]
fn colours_are_for_a_terminal_that_wants_them() {
    if !has("script") {
        return;
    }
    let world = World::new();
    let id = world.serve().client().propose("api.example.com");
    let on_terminal = |no_color: &str, term: &str| {
        let mut command = world.at_terminal(&format!("show {id}"));
        command.env("NO_COLOR", no_color).env("TERM", term);
        Said::of(command.output().unwrap()).stdout
    };
    assert!(on_terminal("", "xterm").contains("\x1b[32m+  - host: api.example.com\x1b[0m"));
    assert!(!on_terminal("1", "xterm").contains('\x1b'));
    assert!(!on_terminal("", "dumb").contains('\x1b'));
    assert!(!world.operator(&["show", &id]).stdout.contains('\x1b'));
}

#[test]
fn a_person_at_a_terminal_is_asked() {
    if !has("script") {
        return;
    }
    let world = World::new();
    let id = world.serve().client().propose("api.example.com");
    let answer = |answer: &str| {
        let mut command = world.at_terminal(&format!("approve {id}"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), answer.as_bytes()).unwrap();
        Said::of(child.wait_with_output().unwrap())
    };
    let said = answer("n\n");
    assert!(said.code == 1 && said.stdout.contains("nothing was done"), "{said:?}");
    assert_eq!(world.read("etc/routes.yaml"), "");
    // For programs, which are not asked.
    let said = Said::of(world.at_terminal(&format!("approve {id} --json")).output().unwrap());
    assert!(said.code == 64 && said.stdout.contains("give --yes"), "{said:?}");
    assert_eq!(world.read("etc/routes.yaml"), "");
    let said = answer("y\n");
    assert!(said.code == 0 && said.stdout.contains("in force, as egress says"), "{said:?}");
}

#[test]
fn watch_tells_what_comes_in() {
    let world = World::new();
    let server = world.serve();
    world.write(
        "run/events.jsonl",
        "{\"time\":\"t1\",\"event\":\"started\",\"service\":\"egress\"}\n\
        {\"time\":\"t2\",\"event\":\"given-up\",\"service\":\"egress\"}\n",
    );
    let first = server.client().propose("a.example.com");
    let mut child =
        world.command(&[], &["watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    let next = || -> Value {
        serde_json::from_str(&lines.recv_timeout(HANG).expect("watch tells something")).unwrap()
    };
    let proposal = |line: Value| {
        let proposal = &line["proposal"];
        (
            proposal["id"].as_str().unwrap().to_owned(),
            proposal["status"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(proposal(next()), (first.clone(), "pending".to_owned()));
    // Of the past only what went wrong.
    assert_eq!(next()["event"]["event"], "given-up");
    let second = server.client().propose("b.example.com");
    assert_eq!(proposal(next()), (second.clone(), "pending".to_owned()));
    assert_eq!(world.operator(&["reject", &first]).code, 0);
    assert_eq!(proposal(next()), (first, "rejected".to_owned()));
    let mut events =
        std::fs::File::options().append(true).open(world.path("run/events.jsonl")).unwrap();
    std::io::Write::write_all(
        &mut events,
        b"{\"time\":\"t3\",\"event\":\"ready\",\"service\":\"egress\"}\n",
    )
    .unwrap();
    assert_eq!(next()["event"]["event"], "ready");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn list_tells_what_went_wrong_with_the_sidecars() {
    let world = World::new();
    let server = world.serve();
    world.write(
        "run/events.jsonl",
        "{\"time\":\"t2\",\"event\":\"exited\",\"service\":\"pipelock\\u001b[2J\",\"signal\":\"SIGKILL\"}\n",
    );
    let said = world.operator(&["list"]);
    assert_eq!(
        said.stdout,
        "nothing waits for you\n\nlately went wrong\n  t2 pipelock\\u{1b}[2J exited signal=SIGKILL\n"
    );
    drop(server);
}
