//! The same over smart HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::io::{Read, Write};
use std::net::TcpStream;

use harness::{Client, World, secret, text};

fn get(world: &World, path: &str) -> String {
    let mut stream = TcpStream::connect(world.gate.address("http")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn client(world: &World, name: &str) -> Client {
    Client::clone(&world.gate.http_url(), &world.path(name))
}

#[test]
fn clone_fetch_and_push() {
    let Some(world) = World::begin() else { return };
    let client = client(&world, "client");
    let news = world.commit_upstream("side", "news", "1\n");
    client.ok(&["fetch", "-q"]);
    assert!(client.ok(&["for-each-ref"]).contains(&news));
    // So much that git sends it in chunks, with a first request to see whether it may.
    client.commit("big", "0123456789abcde\n".repeat(200_000));
    client.ok(&["config", "http.postBuffer", "65536"]);
    client.ok(&["config", "core.compression", "0"]);
    let said = client.push(&["origin", "main"]);
    assert!(said.contains("remote: git-gate: scanning 1 commits"), "{said}");
    assert!(world.refs(&world.upstream()).contains(&client.head()));
    assert_eq!(world.refs(&world.mirror()), world.refs(&world.upstream()));
}

#[test]
fn a_secret_is_refused_with_the_same_words() {
    let Some(world) = World::begin() else { return };
    let before = world.refs(&world.upstream());
    let client = client(&world, "client");
    client.commit("app.env", secret());
    let said = client.refused(&["origin", "main"]);
    assert!(said.contains("remote: git-gate:   aws-access-token in app.env, line 1"), "{said}");
    assert_eq!(world.refs(&world.upstream()), before);
}

#[test]
fn no_upstream_no_fetch_and_no_push() {
    let Some(mut world) = World::begin() else { return };
    let client = client(&world, "client");
    client.commit("a", "1\n");
    world.sshd.down();
    let reason =
        "git-gate: refused: upstream of \"app\" can't be reached: the connection was refused";
    let output = client.git(&["fetch"]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains(reason), "{said}");
    let said = client.refused(&["origin", "main"]);
    assert!(said.contains(reason), "{said}");
}

#[test]
fn nothing_but_what_git_needs_is_served() {
    let Some(world) = World::begin() else { return };
    assert!(get(&world, "/health").starts_with("HTTP/1.1 200 "));
    for path in
        ["/", "/app.git/config", "/app.git/HEAD", "/app.git/info/refs", "/.git-gate/app.lock"]
    {
        let answer = get(&world, path);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    let output =
        Client::try_clone(&world.gate.http_url().replace("app", "other"), &world.path("x"));
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("there is no such repository"));
}
