//! What a bundle promises, in both positions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::process::Command;

use harness::{Position, bundle, bundle_command, init, positions, run, start};

/// A service that ends well when it is asked to, and says so.
fn polite(name: &str) -> String {
    service(name, "exec WITNESS up TERM=bye!0", "")
}

fn service(name: &str, script: &str, more: &str) -> String {
    let script = harness::with_witness(script);
    format!("[[service]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n{more}\n")
}

/// The lines of stderr that the init wrote, without its name.
fn told(stderr: &str) -> Vec<&str> {
    stderr.lines().filter_map(|line| line.strip_prefix("sidecar-init: ")).collect()
}

/// Where in the list the first line with this beginning is.
fn place(lines: &[&str], beginning: &str) -> usize {
    let found = lines.iter().position(|line| line.starts_with(beginning));
    found.unwrap_or_else(|| panic!("no line begins with {beginning:?}: {lines:#?}"))
}

fn assert_order(lines: &[&str], beginnings: &[&str]) {
    let places: Vec<usize> = beginnings.iter().map(|beginning| place(lines, beginning)).collect();
    assert!(places.is_sorted(), "{beginnings:?} in {lines:#?}");
}

#[test]
fn the_first_death_ends_it_in_reverse_order_with_its_code() {
    // The third service dies when the first two have said that they are ready to be asked.
    let directory = tempfile::tempdir().unwrap();
    let fifo = harness::fifo(&directory, "ready");
    let ready = |name| {
        let script = format!("exec WITNESS ready TERM=!0 > {fifo}");
        service(name, &script, "")
    };
    let failing = service("c", &format!("exec 3<>{fifo}; read x <&3; read x <&3; exit 7"), "");
    let file = bundle(&(ready("a") + &ready("b") + &failing));
    for position in positions() {
        let ended = run(&mut bundle_command(position, &file));
        assert_eq!(ended.code(), 7, "{position:?} {ended:?}");
        let lines = told(&ended.stderr);
        assert_order(
            &lines,
            &[
                "service \"a\" started",
                "service \"c\" exited with code 7",
                "service \"b\" is stopping (SIGTERM)",
                "service \"b\" exited with code 0",
                "service \"a\" is stopping (SIGTERM)",
                "service \"a\" exited with code 0",
                "ended: service \"c\" exited with code 7 after ",
            ],
        );
        assert!(ended.record().ends_with("; exit code 7"), "{ended:?}");
    }
}

#[test]
fn a_requested_shutdown_ends_with_0() {
    let file = bundle(&(polite("a") + &polite("b")));
    for (position, signal) in
        positions().into_iter().flat_map(|position| [(position, "TERM"), (position, "INT")])
    {
        let mut running = start(&mut bundle_command(position, &file));
        let mut up = [running.line(), running.line()];
        up.sort();
        assert_eq!(up, ["[a] up", "[b] up"]);
        running.signal(signal);
        let ended = running.end();
        assert_eq!(ended.code(), 0, "{ended:?}");
        assert!(ended.stdout.ends_with("[b] bye\n[a] bye\n"), "{ended:?}");
        assert!(
            ended
                .record()
                .starts_with(&format!("sidecar-init: ended: SIG{signal} received after "))
        );
    }
}

#[test]
fn a_killed_service_is_named_with_its_signal() {
    let file = bundle(&(polite("a") + &service("redis", "echo up; kill -9 $$", "")));
    for position in positions() {
        let ended = run(&mut bundle_command(position, &file));
        assert_eq!(ended.code(), 137);
        let record =
            "sidecar-init: ended: service \"redis\" was killed by SIGKILL (signal 9) after ";
        assert!(ended.record().starts_with(record), "{ended:?}");
    }
}

#[test]
fn an_ignored_exit_leaves_the_others_alone() {
    let file = bundle(&(service("a", "exit 3", "on-exit = \"ignore\"") + &polite("b")));
    for position in positions() {
        let mut running = start(&mut bundle_command(position, &file));
        running.wait_for("[b] up");
        running.signal("TERM");
        assert_eq!(running.end().code(), 0);
    }
    let file = bundle(
        &(service("a", "exit 0", "on-exit = \"ignore\"")
            + &service("b", "exit 4", "on-exit = \"ignore\"")),
    );
    let ended = run(&mut bundle_command(Position::Child, &file));
    assert_eq!(ended.code(), 4, "{ended:?}");
    assert!(
        ended.record().contains(
            "every service has exited; the first to fail: service \"b\" exited with code 4"
        )
    );
}

#[test]
fn a_success_code_ends_the_bundle_with_0() {
    let file = bundle(&service("a", "exit 42", "success-codes = [42]"));
    assert_eq!(run(&mut bundle_command(Position::Child, &file)).code(), 0);
}

#[test]
fn a_service_that_cannot_start_takes_the_others_down() {
    let broken = "[[service]]\nname = \"b\"\ncommand = [\"/nonexistent\"]\nafter = [\"a\"]\n";
    let file = bundle(&(polite("a") + broken + &service("c", "exit 3", "after = [\"b\"]")));
    for position in positions() {
        let ended = run(&mut bundle_command(position, &file));
        assert_eq!(ended.code(), 127, "{ended:?}");
        let lines = told(&ended.stderr);
        assert_order(
            &lines,
            &[
                "service \"a\" started",
                "service \"b\": command /nonexistent not found",
                "service \"a\" is stopping",
                "ended: service \"b\" could not be started: command /nonexistent not found; exit code 127",
            ],
        );
        assert!(!ended.stderr.contains("\"c\""), "{ended:?}");
    }
}

#[test]
fn a_command_that_is_not_found_is_no_exit_to_be_ignored() {
    let broken = "[[service]]\nname = \"b\"\ncommand = [\"/nonexistent\"]\n\
                  on-exit = \"ignore\"\n";
    let file = bundle(&(polite("a") + broken));
    assert_eq!(run(&mut bundle_command(Position::Child, &file)).code(), 127);
}

#[test]
fn why_it_refused_to_start_is_in_the_termination_log() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let wrong = bundle("[[service]]\nname = \"a\"\ncommand = \"x\"\nnice = 99\n");
    let right = bundle(&polite("a"));
    for (file, only, code) in [(&wrong, "a", 78), (&right, "nosuch", 65)] {
        let mut command = bundle_command(Position::Child, file);
        let ended = run(command.arg("--termination-log").arg(&log).args(["--only", only]));
        assert_eq!(ended.code(), code);
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(!log.is_empty() && ended.stderr.ends_with(&log), "{log:?} {ended:?}");
    }
}

#[test]
fn the_selection_starts_only_what_it_names() {
    let file = bundle(
        &("[bundle]\nselect-env = \"PICK\"\n".to_owned()
            + &service("a", "echo a", "on-exit = \"ignore\"")
            + &service("b", "echo b", "on-exit = \"ignore\"")
            + &service("c", "echo c", "on-exit = \"ignore\"")),
    );
    let outputs = |value: Option<&str>, more: &[&str]| {
        let mut command = bundle_command(Position::Child, &file);
        command.args(more).env_remove("PICK").envs(value.map(|value| ("PICK", value)));
        let ended = run(&mut command);
        let mut lines: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        (ended.code(), lines.join(" "), ended.stderr)
    };
    let all = "[a] a [b] b [c] c";
    assert_eq!(outputs(None, &[]).1, all);
    assert_eq!(outputs(Some(""), &[]).1, all);
    assert_eq!(outputs(Some(" c ,a, a"), &[]).1, "[a] a [c] c");
    assert_eq!(outputs(Some("a"), &["--only", "b"]).1, "[b] b");
    let (code, lines, stderr) = outputs(Some("b,web"), &[]);
    assert_eq!((code, &*lines), (0, "[b] b"));
    assert!(
        stderr.starts_with(
            "sidecar-init: PICK names unknown services: web; the bundle has a, b, c\n"
        ),
        "{stderr}"
    );
    let (code, lines, stderr) = outputs(Some("web"), &[]);
    assert_eq!((code, &*lines), (65, ""));
    assert!(
        stderr.ends_with("sidecar-init: PICK leaves no service to run; the bundle has a, b, c\n"),
        "{stderr}"
    );
}

#[test]
fn signals_are_routed_renamed_and_dropped() {
    let reporter = |name: &str| service(name, "exec WITNESS up HUP=hup USR2=usr2 TERM=!0", "");
    let routes = "[signals]\nHUP = { to = [\"b\"] }\nUSR1 = { to = [\"a\"], as = \"USR2\" }\nWINCH = { drop = true }\nQUIT = { as = \"TERM\" }\n";
    let file = bundle(&(reporter("a") + &reporter("b") + routes));
    for position in positions() {
        let mut running = start(&mut bundle_command(position, &file));
        running.line();
        running.line();
        running.signal("WINCH");
        running.signal("USR2");
        running.signal("HUP");
        assert_eq!(running.line(), "[b] hup");
        running.signal("USR1");
        assert_eq!(running.line(), "[a] usr2");
        running.signal("QUIT");
        let ended = running.end();
        assert_eq!(ended.code(), 0);
        assert!(ended.stderr.contains("SIGUSR2 received and dropped"), "{ended:?}");
        assert!(!ended.stderr.contains("SIGWINCH"), "{ended:?}");
        assert!(ended.record().contains("SIGQUIT received"), "{ended:?}");
    }
}

#[test]
fn each_service_sees_only_its_own_variables() {
    let print = "printenv | grep -E \"^(TOKEN|PLAIN|SET|PATH)\" | sort | tr \"\\n\" \" \"";
    let keys =
        "environment-drop = [\"TOKEN_*\"]\nenvironment = { SET = \"1\" }\non-exit = \"ignore\"";
    let file = bundle(
        &(service("a", print, "on-exit = \"ignore\"\nenvironment-pass = [\"TOKEN_*\", \"PATH\"]")
            + &service("b", print, keys)),
    );
    let mut command = bundle_command(Position::Child, &file);
    command.env("TOKEN_1", "t").env("PLAIN", "p").env("PATH", "/usr/bin:/bin");
    let ended = run(command.env("SET", "inherited"));
    let mut lines: Vec<&str> = ended.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["[a] PATH=/usr/bin:/bin TOKEN_1=t ", "[b] PATH=/usr/bin:/bin PLAIN=p SET=1 "]
    );
}

#[test]
fn services_have_three_descriptors_and_no_others() {
    let file = bundle(&service(
        "a",
        "ls /proc/self/fd | tr \"\\n\" \" \"; readlink /proc/self/fd/0",
        "on-exit = \"ignore\"",
    ));
    let inner = bundle_command(Position::Child, &file);
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec 7</etc/passwd; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let ended = run(&mut command);
    // 3 is the directory that ls reads.
    assert_eq!(ended.stdout, "[a] 0 1 2 3 /dev/null\n", "{ended:?}");
}

#[test]
fn the_init_leaves_its_directory_and_knows_what_was_meant() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    std::fs::create_dir(place("below")).unwrap();
    std::fs::write(place("below/variables"), "V=1\n").unwrap();
    let text = |script: &str| {
        service("a", script, "environment-file = \"variables\"")
            + "[signals]\nHUP = { reload = true }\n"
    };
    let script = "echo $V in $(pwd); exec sleep 1000";
    std::fs::write(place("below/bundle.toml"), text(script)).unwrap();
    let mut command = init(Position::Child);
    command.args(["run", "-f", "below/bundle.toml"]).current_dir(directory.path());
    let mut running = start(&mut command);
    let here = directory.path().canonicalize().unwrap();
    assert_eq!(running.line(), format!("[a] 1 in {}", here.display()));
    let own = std::fs::read_link(format!("/proc/{}/cwd", running.pid())).unwrap();
    assert_eq!(own, std::path::Path::new("/"));

    std::fs::write(place("below/variables"), "V=2\n").unwrap();
    running.signal("HUP");
    assert_eq!(running.line(), format!("[a] 2 in {}", here.display()));
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
}

#[test]
fn a_script_without_its_interpreter_is_told_from_a_missing_one() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("x");
    std::fs::write(&script, "#!/nonexistent\n").unwrap();
    assert!(Command::new("chmod").arg("755").arg(&script).status().unwrap().success());
    let text = |command: &str| {
        let place = directory.path().display();
        format!(
            "[[service]]\nname = \"a\"\ncommand = [\"{command}\"]\nworking-directory = \"{place}\"\n"
        )
    };
    for (command, reason) in
        [("./x", "./x is there, but the interpreter"), ("./y", "command ./y not found")]
    {
        let ended = run(&mut bundle_command(Position::Child, &bundle(&text(command))));
        assert_eq!(ended.code(), 127);
        assert!(ended.stderr.contains(reason), "{ended:?}");
    }
}

#[test]
fn a_main_command_ends_the_bundle_with_its_code() {
    let file = bundle(&polite("a"));
    for position in positions() {
        for code in [0, 9] {
            let mut command = bundle_command(position, &file);
            let ended = run(command.args(["--", "sh", "-c", &format!("cat; exit {code}")]));
            assert_eq!(ended.code(), code, "{ended:?}");
            assert!(ended.stderr.contains("service \"a\" is stopping"), "{ended:?}");
        }
    }
}

#[test]
fn a_signal_can_be_routed_to_the_main_command() {
    let file = bundle(&(polite("a") + "[signals]\nUSR1 = { to = [\"main\"], as = \"HUP\" }\n"));
    let script = harness::with_witness("exec WITNESS main HUP=hup!4");
    let mut running =
        start(bundle_command(Position::Child, &file).args(["--", "sh", "-c", &script]));
    running.wait_for("main");
    running.signal("USR1");
    assert_eq!(running.end().code(), 4);
}

#[test]
fn a_route_to_what_is_not_selected_leads_nowhere_and_one_to_main_does() {
    let routes = "[signals]\nHUP = { to = [\"b\"] }\nUSR1 = { to = [\"main\", \"b\"] }\n";
    let file = bundle(&(polite("a") + &polite("b") + routes));
    let script = harness::with_witness("exec WITNESS main HUP=lost USR1=got!0");
    let mut running = start(
        bundle_command(Position::Child, &file).args(["--only", "a", "--", "sh", "-c", &script]),
    );
    running.wait_for("main");
    running.signal("HUP");
    running.signal("USR1");
    running.wait_for("got");
    let ended = running.end();
    assert!(ended.stderr.contains("SIGHUP received and dropped"), "{ended:?}");
}

#[test]
fn what_overruns_is_named_and_the_others_are_asked_in_time() {
    let stubborn = service("slow", "exec WITNESS up", "");
    let file = bundle(&("[bundle]\ngrace = \"900ms\"\n".to_owned() + &polite("a") + &stubborn));
    for position in positions() {
        let mut running = start(&mut bundle_command(position, &file));
        running.line();
        running.line();
        running.signal("TERM");
        let ended = running.end();
        assert_eq!(ended.code(), 0);
        assert!(ended.stdout.contains("[a] bye"), "{ended:?}");
        assert!(ended.record().ends_with("; overran the grace: slow"), "{ended:?}");
    }
}

#[test]
fn a_service_has_a_grace_of_its_own() {
    let stubborn = service("slow", "exec WITNESS up", "grace = \"100ms\"");
    let file = bundle(&("[bundle]\ngrace = \"1h\"\n".to_owned() + &polite("a") + &stubborn));
    let mut running = start(&mut bundle_command(Position::Child, &file));
    running.line();
    running.line();
    running.signal("TERM");
    let ended = running.end();
    assert_eq!(ended.code(), 0);
    assert!(ended.stderr.contains("service \"slow\" overran its grace and is killed"), "{ended:?}");
}

#[test]
fn instances_are_as_many_as_the_environment_says() {
    let text = "[[service]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"echo %i\"]\n\
                on-exit = \"ignore\"\ninstances-env = \"WORKERS\"\n";
    let file = bundle(text);
    let with = |workers: &str| {
        let mut command = bundle_command(Position::Child, &file);
        run(command.env("WORKERS", workers))
    };
    let ended = with("3");
    let mut lines: Vec<&str> = ended.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!((ended.code(), lines), (0, vec!["[a@1] 1", "[a@2] 2", "[a@3] 3"]));
    let ended = with("0");
    assert!(ended.code() == 65 && ended.stderr.contains("leaves no instance"), "{ended:?}");
    let ended = with("many");
    let words = ":5:17: `instances-env`: WORKERS is \"many\" in the environment; it takes";
    assert!(ended.code() == 78 && ended.stderr.contains(words), "{ended:?}");
}
