use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SMALLEST: &str = r#"[[upstream]]
name = "app"
url = "ssh://git@example.org/app.git"
key = "/git-gate/creds/app"
known-hosts = "/git-gate/creds/known_hosts"
"#;

fn errors(text: &str) -> String {
    parse("upstreams.toml", text).unwrap_err().to_string()
}

#[test]
fn without_upstreams_there_is_nothing_to_serve() {
    assert!(parse("upstreams.toml", "# none yet\n").unwrap().upstreams.is_empty());
}

#[test]
fn one_upstream_is_enough() {
    let config = parse("upstreams.toml", SMALLEST).unwrap();
    assert_eq!(config.gate.root, Path::new("/git"));
    assert_eq!(config.gate.listen.unwrap().port(), 9418);
    assert_eq!(config.gate.http_listen.unwrap().port(), 9420);
    // Whom clients can reach they can keep busy.
    assert_eq!(config.gate.health_listen, Some(([127, 0, 0, 1], 9421).into()));
    assert_eq!(config.gate.times.idle, Duration::from_secs(60));
    assert_eq!(config.gate.protocols, [Protocol::Ssh]);
    let upstream = config.upstream("app").unwrap();
    assert_eq!(config.gate.mirror(upstream), Path::new("/git/app.git"));
    assert_eq!(config.upstream("App"), None);
}

#[test]
fn memory_is_enough_for_the_largest_file() {
    let memory = |gate: &str| parse("f", &format!("[gate]\n{gate}\n")).unwrap().gate.limits.memory;
    assert_eq!(memory(""), 512 << 20);
    assert_eq!(memory("max-file-size = \"1GiB\""), 10 << 30);
    assert_eq!(memory("max-memory = \"300MiB\""), 300 << 20);
    let text = "[gate]\nmax-file-size = \"200MiB\"\nmax-memory = \"512MiB\"\n";
    let error = errors(text);
    assert!(error.contains(":3:14: `max-memory` is too little"), "{error}");
    assert!(error.contains("at least \"600MiB\""), "{error}");
}

#[test]
fn every_setting_is_taken() {
    let text = format!(
        "[gate]\nroot = \"/srv/git\"\nlisten = \"127.0.0.1:1\"\nhttp-listen = \"off\"\n\
         health-listen = \"off\"\ngitleaks = \"/g\"\ngitleaks-config = \"/c\"\napproved-fingerprints = \"/a\"\n\
         protocols = [\"ssh\", \"file\"]\nrequest-timeout = \"1s\"\nidle-timeout = \"2s\"\n\
         session-timeout = \"1h\"\nfetch-timeout = \"3s\"\npush-timeout = \"4s\"\n\
         max-sessions = 5\nmax-push-size = \"6KiB\"\nmax-file-size = \"7MiB\"\n\
         max-scan-size = \"8GiB\"\nmax-memory = \"1GiB\"\n{SMALLEST}default-branch = \"refs/heads/trunk\"\n\
         [[upstream]]\nname = \"lib\"\nurl = \"file:///srv/lib.git\"\n"
    );
    let config = parse("upstreams.toml", &text).unwrap();
    let gate = &config.gate;
    assert_eq!((gate.http_listen, gate.health_listen), (None, None));
    assert_eq!(gate.gitleaks_config.as_deref(), Some(Path::new("/c")));
    assert_eq!(gate.times.push, Duration::from_secs(4));
    let (push, file, scan, memory) = (6 << 10, 7 << 20, 8 << 30, 1 << 30);
    assert_eq!(gate.limits, Limits { sessions: 5, push, file, scan, memory });
    assert_eq!(config.upstreams[0].default_branch.as_deref(), Some("trunk"));
    assert_eq!(config.upstreams[1].ssh, None);
}

#[test]
fn everything_that_is_wrong_is_said_with_its_place() {
    let text = "[gate]\nroot = \"git\"\nidle-timeout = \"2h\"\nport = 1\n\
                [[upstream]]\nname = \"a b\"\nurl = \"http://x/y\"\n\
                [[upstream]]\nname = \"app\"\nurl = \"git@example.org:app\"\nkey = \"/k\"\n";
    assert_eq!(
        errors(text),
        "upstreams.toml:2:8: `root` is an absolute path, one that begins with /\n\
         upstreams.toml:3:16: `idle-timeout` (2h) is longer than `session-timeout` (30m), which \
         would never let it end\n\
         upstreams.toml:4:1: unknown key `port` in [gate]; it takes root, listen, http-listen, \
         health-listen, gitleaks, gitleaks-config, approved-fingerprints, protocols, request-timeout, \
         idle-timeout, session-timeout, fetch-timeout, push-timeout, max-sessions, \
         max-push-size, max-file-size, max-scan-size, max-memory\n\
         upstreams.toml:6:8: `name` begins with a letter or a digit and goes on with those, - _ \
         and .; it does not end in .git, which the gate adds\n\
         upstreams.toml:7:7: `url` has to begin with ssh://, or to be USER@HOST:PATH\n\
         upstreams.toml:8:1: this [[upstream]] has no `known-hosts`, which ssh needs"
    );
}

#[test]
fn a_wrong_value_is_named_and_a_misspelt_key_has_a_suggestion() {
    assert_eq!(
        errors("[gate]\nidle-timeout = \"1ms\"\nmax-memory = \"1GB\"\nrot = \"/git\"\n"),
        "upstreams.toml:2:16: `idle-timeout`: \"1ms\" is not a duration of at least 1s, like 30s or 10m\n\
         upstreams.toml:3:14: `max-memory`: \"1GB\" is no size, like 100MiB or 2GiB\n\
         upstreams.toml:4:1: unknown key `rot` in [gate]; did you mean `root`?"
    );
}

#[test]
fn upstreams_are_tables_with_names_of_their_own() {
    assert!(errors("upstream = 3\n").contains("[[upstream]]"));
    assert!(errors(&format!("{SMALLEST}{SMALLEST}")).contains("a second upstream"));
    assert!(errors("name = \n").starts_with("upstreams.toml:1:"));
}

#[test]
fn other_protocols_have_to_be_allowed() {
    let text = "[[upstream]]\nname = \"a\"\nurl = \"file:///a\"\n";
    assert!(errors(text).contains("`protocols` does not have \"file\""));
}

#[test]
fn a_mirror_is_right_below_the_root() {
    let name = |path| name_of(Path::new("/git"), Path::new(path));
    assert_eq!(name("/git/app.git"), Some("app"));
    for other in ["/git", "/git/app", "/git/app.git/x", "/other/app.git", "/git/x/app.git"] {
        assert_eq!(name(other), None, "{other}");
    }
}

#[test]
fn the_documentation_names_every_key() {
    let text = include_str!("../../../../docs/git-gate.md");
    for key in keys() {
        assert!(text.contains(&format!("| `{key}` |")), "docs/git-gate.md does not name {key}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_much_for_it(text in "\\PC{0,200}") {
        let _ = parse("f", &text);
    }

    #[test]
    fn a_name_never_leads_out_of_the_root(name in "[a-z./\\\\ -]{1,12}") {
        let text = SMALLEST.replace("\"app\"", &format!("'{name}'"));
        if let Ok(config) = parse("f", &text) {
            let mirror = config.gate.mirror(&config.upstreams[0]);
            prop_assert_eq!(mirror.parent(), Some(Path::new("/git")));
            prop_assert_eq!(name_of(Path::new("/git"), &mirror), Some(name.as_str()));
        }
    }
}
