//! The completions, as the shells themselves use them.

use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::notices::or_skip;

use crate::{completions, generated};

const COMPLETIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/completions");

#[test]
fn generated_completions_are_up_to_date() {
    generated::holds("completions/sidecar-init.bash", &completions::bash());
    generated::holds("completions/_sidecar-init", &completions::zsh());
    generated::holds("completions/sidecar-init.fish", &completions::fish());
}

/// A folder with the program, or what is in its place: it has two services, and says how it was called.
fn program() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let script = "#!/bin/sh\necho \"$*\" >>\"${0%/*}/calls\"\n\
                  printf 'SERVICE  STATE\\nweb      ready\\nworker   ready\\n'\n";
    let path = directory.path().join("sidecar-init");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

fn is_installed(shell: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(shell).is_file());
    or_skip(is_there, &format!("needs {shell}"))
}

/// What a shell prints that runs this script, with the program in its path, in a folder with the file `b.toml`.
fn said(shell: &str, script: &str, arguments: &[&str], program: &Path) -> Vec<String> {
    let folder = program.join("files");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("b.toml"), "").unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(shell);
    if shell == "bash" {
        command.args(["--norc", "--noprofile"]);
    } else if shell == "zsh" {
        command.arg("-f");
    } else {
        command.arg("--no-config");
    }
    command.args(["-c", script]).args(arguments).current_dir(folder).env("HOME", program);
    let output = command.env("PATH", format!("{}:{path}", program.display())).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{shell} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// What each shell offers for the last of these words: some of it, and something else that it does not.
const OFFERS: &[(&[&str], &[&str], &[&str])] = &[
    (&[""], &["run", "status", "help"], &["web", "b.toml"]),
    (&["sta"], &["start", "status"], &["stop"]),
    (&["--"], &["--grace", "--map", "--help"], &["--only", "--socket"]),
    (&["run", "--"], &["--file", "--only", "--grace"], &["--map", "--socket"]),
    (&["status", "--"], &["--json", "--watch", "--socket"], &["--grace", "--follow"]),
    (&["run", "-f", ""], &["b.toml"], &["run", "web"]),
    (&["run", "--log", ""], &["prefix", "json", "inherit"], &["run", "web"]),
    (&["run", "--log", "j"], &["json"], &["prefix"]),
    (&["stop", ""], &["web", "worker"], &["SERVICE", "HUP", "run"]),
    (&["stop", "web", "wo"], &["worker"], &["web"]),
    (&["signal", "web", ""], &["HUP", "USR1", "TERM", "web"], &["SIGHUP", "run"]),
    (&["logs", "we"], &["web"], &["worker"]),
    (&["help", "me"], &["metrics"], &["status"]),
    (&["--map", "TE"], &["TERM="], &["TERM", "HUP="]),
    (&["--parent-death-signal", "K"], &["KILL"], &["TERM"]),
    (&["status", "w"], &[], &["web", "run"]),
    (&["run", "--", "sidecar-ini"], &["sidecar-init"], &["run"]),
    (&["--", "cat", "b.t"], &["b.toml"], &["status"]),
];

/// Tries all of them with a shell that prints what it offers, one a line.
fn offers(shell: &str, script: &str) {
    let program = program();
    for (words, offered, others) in OFFERS {
        let all = [&[COMPLETIONS, "sidecar-init"][..], words].concat();
        let said = said(shell, script, &all, program.path());
        // fish puts the description behind a tab.
        let said: Vec<&str> = said.iter().filter_map(|line| line.split('\t').next()).collect();
        for word in *offered {
            assert!(said.contains(word), "{shell} {words:?}: {word} is not in {said:?}");
        }
        for word in *others {
            assert!(!said.contains(word), "{shell} {words:?}: {word} is in {said:?}");
        }
    }
    let calls = std::fs::read_to_string(program.path().join("calls")).unwrap();
    // Only names of services are asked for, and not for long.
    assert!(calls.lines().all(|call| call == "status --timeout 1s"), "{calls}");
    let with_socket = [COMPLETIONS, "sidecar-init", "stop", "--socket", "/s", "w"];
    said(shell, script, &with_socket, program.path());
    let calls = std::fs::read_to_string(program.path().join("calls")).unwrap();
    assert!(calls.ends_with("status --timeout 1s --socket /s\n"), "{calls}");
}

#[test]
fn bash_completes() {
    let script = "source \"$0\"/sidecar-init.bash; COMP_WORDS=(\"$@\"); \
                  COMP_CWORD=$(($# - 1)); _sidecar_init; printf '%s\\n' \"${COMPREPLY[@]}\"";
    offers("bash", script);
    // bash makes words of the equals sign.
    let program = program();
    for (words, offered) in [
        (&["run", "--log", "="][..], "json"),
        (&["run", "--log", "=", "j"], "json"),
        (&["run", "--file", "=", "b"], "b.toml"),
    ] {
        let all = [&[COMPLETIONS, "sidecar-init"][..], words].concat();
        let said = said("bash", script, &all, program.path());
        assert!(said.contains(&offered.to_owned()), "{words:?}: {said:?}");
    }
}

#[test]
fn fish_completes() {
    if is_installed("fish") {
        let script = "source $argv[1]/sidecar-init.fish\n\
                      complete -C (string join ' ' -- $argv[2..-1])";
        offers("fish", script);
    }
}

#[test]
fn zsh_completes() {
    if is_installed("zsh") {
        offers("zsh", include_str!("zsh_offers.zsh"));
    }
}

#[test]
fn the_completions_of_zsh_are_found_by_its_own_rules() {
    if is_installed("zsh") {
        let script = "fpath=($0 $fpath); autoload -U compinit; compinit -u -D; print -r -- $_comps[sidecar-init]";
        let program = program();
        assert_eq!(said("zsh", script, &[COMPLETIONS], program.path()), ["_sidecar-init"]);
    }
}

#[test]
fn no_shell_finds_a_fault_in_its_syntax() {
    let file = |name: &str| PathBuf::from(COMPLETIONS).join(name);
    for (shell, name) in
        [("bash", "sidecar-init.bash"), ("zsh", "_sidecar-init"), ("fish", "sidecar-init.fish")]
    {
        if is_installed(shell) {
            let output = Command::new(shell).arg("-n").arg(file(name)).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && errors.is_empty(), "{name}: {errors}");
        }
    }
}
