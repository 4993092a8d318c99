use std::path::Path;

use super::*;
use crate::config::{self, Config};

fn config() -> Config {
    let text = "[[upstream]]\nname = \"app\"\nurl = \"git@example.org:app.git\"\n\
                key = \"/k\"\nknown-hosts = \"/h\"\n";
    config::parse("f", text).unwrap()
}

fn words(plan: &Plan) -> Vec<String> {
    plan.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn variable(plan: &Plan, name: &str) -> Option<String> {
    let find = |(key, _): &&(String, OsString)| key == name;
    plan.environment.iter().find(find).map(|(_, value)| value.to_string_lossy().into_owned())
}

#[test]
fn a_push_is_atomic_by_url_and_with_leases() {
    let config = config();
    let id = "a".repeat(40);
    let update = Update { old: None, new: Some(id.clone()), name: "refs/heads/x".to_owned() };
    let plan = push(&config.gate, &config.upstreams[0], &environment(None), &[update]);
    let words = words(&plan);
    assert!(words.contains(&"--atomic".to_owned()));
    let tail = ["--force-with-lease=refs/heads/x:", "--", "git@example.org:app.git"];
    assert_eq!(words[words.len() - 4..words.len() - 1], tail);
    assert_eq!(words[words.len() - 1], format!("{id}:refs/heads/x"));
    assert_eq!(plan.directory, Path::new("/git/app.git"));
    assert_eq!(plan.name(), "git push");
}

#[test]
fn only_the_allowed_protocols_and_the_pinned_host() {
    let config = config();
    let plan = fetch(&config.gate, &config.upstreams[0], &environment(None));
    assert_eq!(variable(&plan, "GIT_ALLOW_PROTOCOL").as_deref(), Some("ssh"));
    assert!(variable(&plan, "GIT_SSH_COMMAND").unwrap().contains("StrictHostKeyChecking=yes"));
    assert_eq!(variable(&plan, "GIT_TERMINAL_PROMPT").as_deref(), Some("0"));
    assert_eq!(variable(&plan, "GIT_CONFIG_GLOBAL").as_deref(), Some("/dev/null"));
    assert_eq!(words(&plan).last().map(String::as_str), Some("+refs/*:refs/*"));
}

#[test]
fn the_mirror_is_trusted_by_name_and_has_our_hooks() {
    let config = config();
    let plan = command(&config.gate, &config.upstreams[0], &[], &["rev-list"]);
    assert_eq!(variable(&plan, "GIT_CONFIG_KEY_0").as_deref(), Some("safe.directory"));
    assert_eq!(variable(&plan, "GIT_CONFIG_VALUE_0").as_deref(), Some("/git/app.git"));
    assert_eq!(variable(&plan, "GIT_CONFIG_KEY_1").as_deref(), Some("core.hooksPath"));
    assert_eq!(variable(&plan, "GIT_CONFIG_VALUE_1").as_deref(), Some("/git/.git-gate/hooks"));
    let count: usize = variable(&plan, "GIT_CONFIG_COUNT").unwrap().parse().unwrap();
    assert!(variable(&plan, &format!("GIT_CONFIG_KEY_{}", count - 1)).is_some());
    assert!(variable(&plan, &format!("GIT_CONFIG_KEY_{count}")).is_none());
}

#[test]
fn head_is_what_upstream_says() {
    let id = "a".repeat(40);
    assert_eq!(
        head(&format!("ref: refs/heads/trunk\tHEAD\n{id}\tHEAD\n")),
        Some("refs/heads/trunk")
    );
    assert_eq!(head(&format!("{id}\tHEAD\n")), None);
    assert_eq!(head("ref: refs/tags/x\tHEAD\n"), None);
    assert_eq!(head(""), None);
}
