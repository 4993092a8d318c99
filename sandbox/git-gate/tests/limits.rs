//! What a push may take of the gate's memory, and what a fetch may ask for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use harness::raw::packet;
use harness::{Client, Settings, World, git, raw, secret, text};
use rustix::fs::{FlockOperation, flock};

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The begin of an object in a pack, gitformat-pack(5).
fn head(kind: u8, mut size: usize) -> Vec<u8> {
    let mut head = vec![kind << 4 | (size & 15) as u8];
    size >>= 4;
    while size > 0 {
        *head.last_mut().unwrap() |= 0x80;
        head.push((size & 0x7f) as u8);
        size >>= 7;
    }
    head
}

fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A pack of 16 kB with a delta that copies its base of 16 MB again and again, to `times` of it.
fn delta_bomb(times: usize) -> Vec<u8> {
    const SIZE: usize = 0xff_ffff;
    let copies = [0xf0, 0xff, 0xff, 0xff].repeat(times);
    let delta = [number(SIZE), number(SIZE * times), copies].concat();
    let base = [head(3, SIZE), zlib(&vec![0; SIZE])].concat();
    let offset = base.len();
    let offset = [((offset >> 7) - 1) as u8 | 0x80, (offset & 0x7f) as u8];
    let objects = [base, head(6, delta.len()), offset.to_vec(), zlib(&delta)].concat();
    [b"PACK\0\0\0\x02\0\0\0\x02", &objects[..], &[0; 20]].concat()
}

#[test]
fn a_delta_that_makes_too_much_is_refused_before_it_is_unpacked() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    let said = raw::push(&world, "refs/heads/bomb", &client.head(), &delta_bomb(384));
    let reason = "git-gate: refused: an object in it unpacks to 6442450560 bytes; max-file-size is \
                  52428800; upstream has received nothing";
    assert!(said.contains(reason), "{said}");
    assert!(said.contains("ng refs/heads/bomb"), "{said}");
    let noted = world.gate.wait_for("push-failed")["reason"].to_string();
    assert!(noted.contains("unpacks to 6442450560 bytes"), "{noted}");
    // And the next one passes.
    client.commit("a", "1\n");
    client.push(&["origin", "main"]);
}

#[test]
fn a_pack_that_promises_too_many_objects_is_refused() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    let pack = b"PACK\0\0\0\x02\xff\xff\xff\xf0";
    let said = raw::push(&world, "refs/heads/many", &client.head(), pack);
    assert!(said.contains("refused: it has 4294967280 objects"), "{said}");
    let said =
        raw::push(&world, "refs/heads/none", &client.head(), b"no pack, but some other bytes");
    assert!(said.contains("refused: its pack is malformed"), "{said}");
    world.gate.wait_for("push-failed");
}

#[test]
fn what_git_refuses_by_itself_is_told_and_noted_as_well() {
    let gate = "max-push-size = \"64KiB\"";
    let Some(world) = World::with(&Settings { gate, ..Settings::default() }) else { return };
    let client = world.client("client");
    client.ok(&["config", "core.compression", "0"]);
    client.commit("long", "some text\n".repeat(20_000));
    let said = client.refused(&["origin", "main"]);
    assert!(
        said.contains("remote: git-gate: refused: it is larger than max-push-size (65536"),
        "{said}"
    );
    let noted = world.gate.wait_for("push-failed");
    assert!(noted["reason"].to_string().contains("max-push-size"), "{noted}");
    assert!(noted["details"].to_string().contains("exceeds maximum allowed size"), "{noted}");
}

/// git names where such a clone ends before it names what it pushes (gitprotocol-pack(5)).
#[test]
fn a_shallow_clone_hears_why_it_is_refused_too() {
    let gate = "max-push-size = \"64KiB\"";
    let Some(world) = World::with(&Settings { gate, ..Settings::default() }) else { return };
    let client = world.client("client");
    client.commit("a", "1\n");
    client.push(&["origin", "main"]);
    client.ok(&["fetch", "-q", "--depth", "1", "origin", "main"]);
    assert_eq!(client.ok(&["rev-parse", "--is-shallow-repository"]), "true\n");
    client.commit("a", "2\n");
    client.push(&["origin", "main"]);
    client.ok(&["config", "core.compression", "0"]);
    client.commit("long", "some text\n".repeat(20_000));
    let said = client.refused(&["origin", "main"]);
    assert!(
        said.contains("remote: git-gate: refused: it is larger than max-push-size (65536"),
        "{said}"
    );
}

/// In the diff each line has a record of git's, many times as long as the line.
#[test]
fn a_scan_that_takes_too_much_memory_is_refused() {
    let gate = "max-memory = \"300MiB\"";
    let Some(world) = World::with(&Settings { gate, ..Settings::default() }) else { return };
    let client = world.client("client");
    client.commit("lines", "\n".repeat(50 << 20));
    let said = client.refused(&["origin", "main"]);
    let reason = "refused: to scan it takes more than max-memory (314572800 bytes)";
    assert!(said.contains(reason), "{said}");
    assert!(world.gate.wait_for("push-failed")["reason"].to_string().contains("max-memory"));
}

#[test]
fn what_is_packed_in_a_file_is_no_larger_than_a_file() {
    let gate = "max-file-size = \"1MiB\"";
    let Some(world) = World::with(&Settings { gate, ..Settings::default() }) else { return };
    let client = world.client("client");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&vec![0; 2 << 20]).unwrap();
    client.commit("zeros.gz", gzip.finish().unwrap());
    let said = client.refused(&["origin", "main"]);
    let reason = "what is packed in \"zeros.gz\" has more than max-file-size (1048576 bytes)";
    assert!(said.contains(reason), "{said}");
    assert!(world.gate.wait_for("push-failed")["reason"].to_string().contains("zeros.gz"));
}

/// As each may take much memory, one push is unpacked at a time, and one is scanned.
#[test]
fn a_push_waits_for_the_others_and_its_client_hears_of_it() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    for (lock, words) in [
        ("-unpack.lock", "waiting for another push"),
        ("-scan.lock", "waiting for the scan of another push"),
    ] {
        let path = world.path("git/.git-gate").join(lock);
        let held = File::options().create(true).append(true).open(path).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        client.commit("a", lock);
        let mut push = client.command(&["push", "origin", "main"]);
        let mut push = push.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(push.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains(words)), "{lock}");
        drop(held);
        lines.for_each(drop);
        assert!(push.wait().unwrap().success(), "{lock}");
    }
    assert!(world.refs(&world.upstream()).contains(&client.head()));
}

/// Everything that a clone may want of an object that no ref reaches any more.
#[test]
fn only_what_a_ref_reaches_can_be_fetched_in_every_version_of_the_protocol() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    client.commit("gone", "what was here\n");
    client.ok(&["tag", "-a", "-m", "inner", "inner"]);
    client.ok(&["tag", "-a", "-m", "outer", "outer", "inner"]);
    client.push(&["origin", "main:side", "outer"]);
    let there = client.ok(&["rev-parse", "HEAD", "HEAD^{tree}", "HEAD:gone", "inner", "outer"]);
    let there: Vec<&str> = there.lines().collect();
    let fetch = |url: &str, version: u8, id: &str, when: &str| {
        let folder = world.path(&format!("{when}-{version}-{id}-{}", url.len()));
        std::fs::create_dir_all(&folder).unwrap();
        git(&folder, &["init", "-q"]);
        let version = format!("protocol.version={version}");
        let output = Client::at(&folder).git(&["-c", &version, "fetch", "-q", url, id]);
        (output.status.success(), text(&output.stderr))
    };
    let urls = [world.gate.git_url(), world.gate.http_url()];
    for id in &there {
        let (is_fetched, said) = fetch(&urls[0], 2, id, "before");
        assert!(is_fetched, "{id}: {said}");
    }
    client.push(&["origin", ":side", ":refs/tags/outer"]);
    let list = ["cat-file", "--batch-all-objects", "--batch-check", "--unordered"];
    let kept = text(&git(&world.mirror(), &list).stdout);
    for id in &there {
        assert!(kept.contains(id), "{id} is gone, and this test proves nothing");
        for url in &urls {
            for version in [0, 1, 2] {
                let (is_fetched, said) = fetch(url, version, id, "after");
                assert!(!is_fetched, "{url} {version} {id}");
                let is_why =
                    said.contains("no ref reaches object") || said.contains("unadvertised");
                assert!(is_why, "{url} {version}: {said}");
            }
        }
    }
    assert!(world.gate.wait_for("fetch-refused")["reason"].to_string().contains(there[0]));
    // What git's own client would not ask for.
    for (header, lines) in [
        ("", format!("{}0000", packet(&format!("want {} ofs-delta\n", there[2])))),
        (
            "Git-Protocol: version=2\r\n",
            format!(
                "{}0001{}0000",
                packet("command=fetch\n"),
                packet(&format!("want {}\n", there[2]))
            ),
        ),
    ] {
        let body =
            format!("{lines}{}", if header.is_empty() { packet("done\n") } else { String::new() });
        let said = raw::post(&world, "git-upload-pack", header, body.as_bytes());
        assert!(said.contains("ERR git-gate: refused: no ref reaches object"), "{said}");
    }
}

/// A clone without files asks for each of them later, by its id.
#[test]
fn a_partial_clone_gets_the_files_that_it_left_out() {
    let Some(world) = World::begin() else { return };
    world.commit_upstream("main", "later", "some text\n");
    for (name, url) in [("git", world.gate.git_url()), ("http", world.gate.http_url())] {
        let folder = world.path(&format!("partial-{name}"));
        let arguments = ["clone", "-q", "--no-checkout", "--filter=blob:none", &url];
        let output = git(&world.path(""), &[&arguments[..], &[folder.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let client = Client::at(&folder);
        client.ok(&["checkout", "-q", "main"]);
        assert_eq!(client.ok(&["show", "HEAD:later"]), "some text\n");
    }
}

/// The limits are no way past the scan.
#[test]
fn a_secret_in_a_large_push_is_found() {
    let gate = "max-memory = \"300MiB\"";
    let Some(world) = World::with(&Settings { gate, ..Settings::default() }) else { return };
    let client = world.client("client");
    let long = "a line of some length, as texts have them in files like this one\n".repeat(200_000);
    client.commit("long", format!("{long}{}\n", secret()));
    let said = client.refused(&["origin", "main"]);
    assert!(said.contains("aws-access-token in long, line 200001"), "{said}");
}
