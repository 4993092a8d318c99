//! A secret in each of the shapes that a push can give it: none reaches upstream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::io::Write;
use std::process::Command;

use harness::{Client, World, git, secret, text};

const RULE: &str = "aws-access-token";

/// Pushes what `make` does to a clone, and sees that it is refused because of a secret `place`.
fn refuses(place: &str, make: impl FnOnce(&Client)) {
    refuses_push(&["--all"], RULE, place, make);
}

fn refuses_push(push: &[&str], rule: &str, place: &str, make: impl FnOnce(&Client)) {
    let Some(world) = World::begin() else { return };
    let before = world.refs(&world.upstream());
    let client = world.client("client");
    make(&client);
    let said = client.refused(&[&["origin"], push].concat());
    assert!(said.contains(&format!("{rule} in {place}")), "{said}");
    assert!(said.contains(&format!("fingerprint {rule}:")), "{said}");
    // git itself shows the names of the refs, but not behind `remote:`.
    let by_the_gate: String = said.lines().filter(|line| line.starts_with("remote:")).collect();
    assert!(
        !by_the_gate.contains(&secret()) && !world.gate.log().contains(&secret()),
        "it is shown"
    );
    assert_eq!(world.refs(&world.upstream()), before);
    assert_eq!(world.refs(&world.mirror()), before);
    // Not even as an object that no ref reaches.
    for repository in [world.upstream(), world.mirror()] {
        let list = ["cat-file", "--batch-all-objects", "--batch-check", "--unordered"];
        let there = text(&git(&repository, &list).stdout);
        let head = client.head();
        let is_new = client.ok(&["rev-list", "--all", "--not", "--remotes"]).contains(&head);
        assert!(!is_new || !there.contains(&head), "{}", repository.display());
    }
}

fn line() -> String {
    format!("first line\nid = {}\n", secret())
}

#[test]
fn in_a_file() {
    refuses("a dir/app.env, line 2, commit ", |client| client.commit("a dir/app.env", line()));
}

#[test]
fn in_a_commit_message() {
    refuses("<commit message>", |client| client.commit_all(&line()));
}

#[test]
fn in_an_evil_merge() {
    refuses("evil, line 2", |client| {
        client.ok(&["checkout", "-q", "-b", "side"]);
        client.commit("side", "1\n");
        client.ok(&["checkout", "-q", "main"]);
        client.commit("other", "2\n");
        client.ok(&["merge", "-q", "--no-commit", "side"]);
        client.write("evil", line());
        client.commit_all("merge");
        client.ok(&["rm", "-q", "evil"]);
        client.commit_all("clean again");
    });
}

#[test]
fn in_a_file_with_nuls() {
    refuses("data.bin", |client| client.commit("data.bin", format!("\0\0\n{}\0", line())));
}

#[test]
fn beside_gitleaks_allow() {
    refuses("app.env, line 1", |client| {
        client.commit("app.env", format!("id = {} # gitleaks:allow\n", secret()));
    });
}

#[test]
fn in_a_tag_message() {
    refuses_push(&["--tags"], RULE, "<tag message>", |client| {
        client.ok(&["tag", "-a", "-m", &line(), "v1"]);
    });
}

/// gitleaks cuts what it reads into pieces, at places that whoever pushes can count out.
#[test]
fn anywhere_in_a_long_tag_message() {
    let key = format!(
        "{0}BEGIN RSA PRIVATE KEY{0}\n{1}{0}END RSA PRIVATE KEY{0}\n",
        "-----",
        "MIIEowIBAAKCAQEAx7Vq0T2kJ9rWnB4sYpLdZ8cFhUuGm3oXeQ5iRtKvNa6wSjHz\n".repeat(48)
    );
    let words = "some words here\n";
    let message = [words.repeat(88_000 / words.len()), key, words.repeat(3500)].concat();
    refuses_push(&["--tags"], "private-key", "<tag message>", |client| {
        client.write("../message", message);
        client.ok(&["tag", "-a", "-F", "../message", "v1"]);
    });
}

#[test]
fn in_the_message_of_a_tag_of_a_tag() {
    refuses_push(&["--tags"], RULE, "<tag message>", |client| {
        client.ok(&["tag", "-a", "-m", &line(), "inner"]);
        client.ok(&["tag", "-a", "-m", "fine", "outer", "inner"]);
        client.ok(&["tag", "-d", "inner"]);
    });
}

fn blob(client: &Client) -> String {
    client.write("loose", line());
    let id = client.ok(&["hash-object", "-w", "loose"]).trim().to_owned();
    std::fs::remove_file(client.path.join("loose")).unwrap();
    id
}

#[test]
fn in_a_tagged_file() {
    refuses_push(&["--tags"], RULE, "", |client| {
        let id = blob(client);
        client.ok(&["tag", "-a", "-m", "fine", "v1", &id]);
    });
}

#[test]
fn in_a_file_that_a_ref_names() {
    refuses_push(&["refs/x/*:refs/x/*"], RULE, "<file without a name>", |client| {
        let id = blob(client);
        client.ok(&["update-ref", "refs/x/y", &id]);
    });
}

#[test]
fn in_base64() {
    let encode = "printf %s \"$1\" | base64 -w 0";
    let output = Command::new("sh").args(["-c", encode, "sh", &line()]).output().unwrap();
    let base64 = text(&output.stdout);
    assert!(!base64.is_empty());
    refuses("app.env", |client| client.commit("app.env", format!("x = \"{base64}\"\n")));
}

#[test]
fn in_a_file_name() {
    refuses("<file name in dir/>", |client| client.commit(&format!("dir/{}", secret()), "x\n"));
}

#[test]
fn in_a_folder_name() {
    refuses("<file name in /", |client| client.commit(&format!("{}/x", secret()), line()));
}

#[test]
fn in_a_ref_name() {
    refuses_push(&[&format!("main:refs/heads/{}", secret())], RULE, "<ref name>", |_| {});
}

#[test]
fn added_and_deleted() {
    refuses("app.env, line 2", |client| {
        client.commit("app.env", line());
        client.ok(&["rm", "-q", "app.env"]);
        client.commit_all("gone");
    });
}

#[test]
fn in_a_file_that_attributes_call_binary() {
    refuses("app.env, line 2", |client| {
        client.write(".gitattributes", "* -diff -text binary\n");
        client.commit("app.env", line());
    });
}

#[test]
fn beside_a_configuration_of_gitleaks() {
    let fingerprints = format!("app.env:{RULE}:2\n");
    refuses("app.env, line 2", |client| {
        client.write(".gitleaks.toml", "[allowlist]\npaths = ['''.*''']\n");
        client.write(".gitleaksignore", &fingerprints);
        client.commit("app.env", line());
    });
}

#[test]
fn in_a_file_that_gitleaks_would_skip_by_its_name() {
    refuses("node_modules/go.sum, line 2", |client| client.commit("node_modules/go.sum", line()));
}

#[test]
fn in_utf_16() {
    for little in [true, false] {
        let wide = |unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
        let bytes: Vec<u8> = line().encode_utf16().flat_map(wide).collect();
        refuses("notes.txt", |client| client.commit("notes.txt", bytes));
    }
}

#[test]
fn in_gzip() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(line().as_bytes()).unwrap();
    refuses("log.gz", |client| client.commit("log.gz", gzip.finish().unwrap()));
}

#[test]
fn in_zip() {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("inner.png", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(line().as_bytes()).unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    refuses("app.jar", |client| client.commit("app.jar", bytes));
}

#[test]
fn behind_a_replacement_that_is_clean() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    client.commit("app.env", line());
    let bad = client.ok(&["rev-parse", "HEAD:app.env"]).trim().to_owned();
    let good = client.ok(&["rev-parse", "HEAD:README"]).trim().to_owned();
    client.push(&["origin", &format!("{good}:refs/replace/{bad}")]);
    let said = client.refused(&["origin", "main"]);
    assert!(said.contains(RULE), "{said}");
}

/// A rule that asks for a file's name, and for nothing in it: only the diff has that.
#[test]
fn as_a_file_whose_name_says_it() {
    refuses_push(&["--all"], "pkcs12-file", "keys/server.p12", |client| {
        client.commit("keys/server.p12", "anything\n");
    });
}
