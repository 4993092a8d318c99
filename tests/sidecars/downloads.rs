//! Large and ordinary downloads by the clients that agents have, with pipelock in the way: what comes
//! in is not held, and what goes out is still searched for keys.

use std::process::Command;

use serde_json::Value;

use crate::docker::text;
use crate::web::{MOST_MEMORY_KIB, most_memory_kib};
use crate::world::{Said, Setup, World, is_there};

const ROUTES: &str = "\
routes:
  - host: api.example.com
    paths: [\"/v1/\"]
  - host: files.example.com
    methods: [GET, HEAD]
    scan: {responses: none}
";
const FILES: &str = "https://files.example.com";

/// The size and SHA-256 of what a URL gives, read in pieces.
pub const DIGEST: &str = "
import hashlib, sys, urllib.request
digest, size = hashlib.sha256(), 0
with urllib.request.urlopen(sys.argv[1], timeout=600) as answer:
    while part := answer.read(1 << 20):
        digest.update(part)
        size += len(part)
print(size, digest.hexdigest())
";

/// A project of each kind that depends on what the web serves.
const PROJECTS: &str = r#"
set -eu
mkdir -p /tmp/npm /tmp/cargo/src /tmp/cargo/.cargo
cat >/tmp/npm/package.json <<'END'
{"name": "p", "version": "1.0.0",
 "dependencies": {"bulk-one": "1.0.0", "bulk-two": "1.0.0", "bulk-three": "1.0.0"}}
END
echo 'registry=https://files.example.com/npm/' >/tmp/npm/.npmrc
touch /tmp/cargo/src/lib.rs
cat >/tmp/cargo/Cargo.toml <<'END'
[package]
name = "p"
version = "1.0.0"
edition = "2021"
[dependencies]
bulk = {version = "1", registry = "test"}
END
cat >/tmp/cargo/.cargo/config.toml <<'END'
[registries.test]
index = "sparse+https://files.example.com/index/"
END
"#;

/// Routes to files.example.com for downloads, and pipelock's configuration for them.
pub fn allow(setup: &Setup) {
    setup.write("egress/routes.yaml", ROUTES);
    setup.generate_pipelock_config();
}

/// With this machine's Rust where the agent finds it.
fn start() -> World {
    let setup = Setup::new();
    allow(&setup);
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let rust = format!("--volume={}:/opt/rust:ro", text(&sysroot.stdout).trim());
    setup.agent_option(&rust).start()
}

fn done(world: &World, said: Said) -> String {
    assert_eq!(said.code, 0, "{said:?} {:?}", world.egress_log());
    said.stdout
}

#[test]
fn large_downloads_stream_and_a_key_on_the_same_path_is_refused() {
    if !is_there() {
        return;
    }
    let world = start();
    let shell = |script: &str| world.agent(&["sh", "-c", script]);
    done(&world, shell(PROJECTS));

    let digest = |url: &str| done(&world, world.agent_python(DIGEST, &[url]));
    let release = digest(&format!("{FILES}/release.bin"));
    assert!(release.starts_with("200000000 "), "{release}");
    for service in ["egress", "pipelock"] {
        let most = most_memory_kib(&world, service);
        assert!(most < MOST_MEMORY_KIB, "{service} has taken {most} KiB");
        eprintln!("{service} has taken {most} KiB at most");
    }
    // Once through what pipelock reads, and once past its eyes.
    let read = digest("https://api.example.com/v1/image.png");
    assert_eq!(read, digest(&format!("{FILES}/v1/image.png")));
    let size: usize = read.split_once(' ').unwrap().0.parse().unwrap();
    assert!((190_000..210_000).contains(&size), "{size}");

    let pip = "pip install --quiet --no-cache-dir --target /tmp/pip \
               --index-url https://files.example.com/simple/ bulk && stat -c %s /tmp/pip/bulk/data.bin";
    assert_eq!(done(&world, shell(pip)), "20000000\n");
    let npm = "cd /tmp/npm && npm=/opt/npm/node_modules/npm/bin/npm-cli.js && \
               node $npm install --silent --no-audit --no-fund --package-lock-only && \
               node $npm ci --silent --no-audit --no-fund && \
               cat node_modules/*/data.bin | wc -c";
    assert_eq!(done(&world, shell(npm)), "6000000\n");
    let cargo = "cd /tmp/cargo && export PATH=/opt/rust/bin:$PATH && cargo fetch --quiet && \
                 cat /tmp/.cargo/registry/src/*/bulk-1.0.0/data.bin | wc -c";
    assert_eq!(done(&world, shell(cargo)), "6000000\n");

    let key = format!("AKIA{}", "Q3EGRVZ7JKPLM2XN");
    let before = world.seen().len();
    for path in
        ["/release.bin", "/v1/image.png", "/simple/bulk/", "/npm/bulk-one", "/index/bu/lk/bulk"]
    {
        let url = format!("{FILES}{path}");
        let header = format!("X-Note: {key}");
        for arguments in [&[&*format!("{url}?note={key}")][..], &["-H", &header, &url]] {
            let said = world.curl(arguments);
            let body = said.stdout.strip_suffix("\n403").unwrap_or_else(|| panic!("{said:?}"));
            let answer: Value = serde_json::from_str(body).unwrap();
            assert_eq!(answer["reason"], "refused-by-pipelock", "{answer}");
        }
        // Nothing has a body there, as it could not be looked into.
        for (method, reason) in [("GET", "body-not-scanned"), ("POST", "no-route-for-method")] {
            let said = world.curl(&["-X", method, "--data-binary", &key, &url]);
            assert!(said.stdout.contains(reason) && said.stdout.ends_with("\n403"), "{said:?}");
        }
    }
    assert_eq!(world.seen().len(), before);
    assert!(!format!("{}{}", world.sidecars.stdout(), world.sidecars.stderr()).contains(&key));
}
