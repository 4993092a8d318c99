//! What `supervise pipelock-config` prints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::io::Write;
use std::process::Stdio;

use harness::{Said, World};

const SHIPPED: &str = include_str!("../../image/pipelock.yaml");
const ROUTES: &str = "routes:\n  - host: B.example.com\n    paths: [/v1/]\n  \
                      - {host: b.example.com, paths: [/v2/]}\n  - host: \"*.example.org\"\n";

/// With this on stdin.
fn fed(world: &World, arguments: &[&str], stdin: &str) -> Said {
    let mut command = world.command(&[], arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    Said::of(child.wait_with_output().unwrap())
}

#[test]
fn the_shipped_one_gets_the_hosts_of_the_routes_and_those_given() {
    let world = World::new();
    world.write("routes.yaml", ROUTES);
    let path = world.path("routes.yaml");
    let list = "api_allowlist:\n  - \"*.example.org\"\n  - a.example.com\n  - b.example.com\n";
    let expected = SHIPPED.replace("api_allowlist:\n  - nothing.invalid\n", list);
    assert_ne!(expected, SHIPPED);
    let named = ["pipelock-config", "a.example.com", "--routes", path.to_str().unwrap()];
    let by_stdin = ["pipelock-config", "--routes", "-", "a.example.com", "B.example.com"];
    for said in [world.operator(&named), fed(&world, &by_stdin, ROUTES)] {
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
        assert_eq!(said.stdout, expected);
    }
}

#[test]
fn without_hosts_the_shipped_one_is_printed_and_that_is_told() {
    let world = World::new();
    let told = "supervise: no host is named, so this configuration allows nothing\n";
    let empty = format!("supervise: stdin is empty; docker run passes it on with -i\n{told}");
    for (said, expected) in [
        (world.operator(&["pipelock-config"]), told),
        (fed(&world, &["pipelock-config", "--routes", "-"], "# none yet\n"), told),
        (fed(&world, &["pipelock-config", "--routes", "-"], ""), &empty),
    ] {
        assert_eq!((said.code, said.stderr.as_str()), (0, expected), "{said:?}");
        assert_eq!(said.stdout, SHIPPED);
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_nothing_is_printed() {
    let world = World::new();
    world.write("bad.yaml", "routes:\n  - host: a.example.com\n  - host: \"*.com\"\n");
    let bad = world.path("bad.yaml").to_str().unwrap().to_owned();
    let missing = world.path("missing.yaml").to_str().unwrap().to_owned();
    let routes = |path| ["pipelock-config", "--routes", path];
    for (said, expected) in [
        (world.operator(&routes(&bad)), format!("{bad}: line 3: host \"*.com\": the wildcard")),
        (world.operator(&routes(&missing)), format!("{missing}: No such file or directory")),
        (world.operator(&routes("/")), "/: it is not a regular file".to_owned()),
        (fed(&world, &routes("-"), "routes: [oops\n"), "stdin: line 2, column 1: ".to_owned()),
        (
            fed(&world, &routes("-"), "routes:\n- paths: [/]\n"),
            "stdin: line 2: no route".to_owned(),
        ),
        (fed(&world, &routes("-"), "- host: a.example.com\n"), "stdin: its top level".to_owned()),
        (world.operator(&["pipelock-config", "10.0.0.1"]), "host \"10.0.0.1\": ".to_owned()),
    ] {
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{said:?}");
        assert!(said.stderr.starts_with(&format!("supervise: {expected}")), "{said:?}");
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    }
}

#[test]
fn one_that_is_open_is_refused_with_each_problem() {
    let world = World::new();
    let closed = SHIPPED.replace("nothing.invalid", "api.example.com");
    let check = |path| ["pipelock-config", "--check", path];
    world.write("pipelock.yaml", &closed);
    let file = world.path("pipelock.yaml").to_str().unwrap().to_owned();
    for said in [world.operator(&check(&file)), fed(&world, &check("-"), SHIPPED)] {
        assert_eq!((said.code, &*said.stdout, &*said.stderr), (0, "", ""), "{said:?}");
    }
    let open = closed.replace("enforce: true", "enforce: false");
    let (head, tail) = open.split_once("sentry:\n  enabled: false\n").unwrap();
    world.write("pipelock.yaml", &format!("{head}{tail}"));
    let said = world.operator(&check(&file));
    assert_eq!((said.code, &*said.stdout), (78, ""), "{said:?}");
    let line = 1 + SHIPPED.lines().position(|line| line == "enforce: true").unwrap();
    assert_eq!(
        said.stderr,
        format!(
            "supervise: {file}: line {line}: `enforce` has to be true, or left out; it is false\n\
             supervise: {file}: `sentry.enabled` has to be false; it is missing\n\
             supervise: {file} would let through what pipelock is there to refuse; change that, or \
             make one with supervise pipelock-config\n"
        )
    );
    for (path, expected) in [("/", "/: it is not a regular file"), ("/none", "/none: No such file")]
    {
        let said = world.operator(&check(path));
        assert_eq!(said.code, 78, "{said:?}");
        assert!(said.stderr.starts_with(&format!("supervise: {expected}")), "{said:?}");
    }
}
