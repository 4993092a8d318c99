//! What the init does when the machine is at its limits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use harness::{Position, bundle, positions, run, start, start_script};
use test_support::notices::is_root;
use test_support::programs::has;
use test_support::{HANG, until};

/// The init behind a shell that first does `setup`.
fn behind(setup: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("{setup}; exec \"$@\"");
    command.args(["-c", &script, "sh", &harness::binary()]).args(arguments);
    command
}

#[test]
fn no_more_processes_is_a_clear_end() {
    // Only root can become the user whose limit is met.
    if !is_root() {
        return;
    }
    // The limit counts all processes of a user, so it takes one that has no others.
    let script = "ulimit -u 1; exec \"$0\" -- true";
    let copy = tempfile::tempdir().unwrap();
    let binary = copy.path().join("sidecar-init");
    std::fs::copy(harness::binary(), &binary).unwrap();
    let open = Command::new("chmod").args(["755"]).arg(copy.path()).status().unwrap();
    assert!(open.success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "54321", "--regid", "54321", "--clear-groups", "bash", "-c", script]);
    let ended = run(command.arg(&binary));
    assert_eq!(ended.code(), 125, "{ended:?}");
    assert!(ended.stderr.contains("can't make a process"), "{ended:?}");
}

#[test]
fn few_descriptors_suffice_for_one_command() {
    let ended = run(&mut behind("ulimit -n 9", &["--", "sh", "-c", "exit 3"]));
    assert_eq!(ended.code(), 3, "{ended:?}");
}

#[test]
fn a_bundle_that_runs_out_of_descriptors_ends_in_order() {
    let services: String = (0..30)
        .map(|number| {
            let script = harness::with_witness("exec WITNESS up TERM=!0");
            format!("[[service]]\nname = \"s{number}\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n")
        })
        .collect();
    let file = bundle(&services);
    let ended = run(&mut behind("ulimit -n 40", &["run", "-f", file.path().to_str().unwrap()]));
    assert_eq!(ended.code(), 125, "{ended:?}");
    assert!(ended.stderr.contains("could not be started: can't "), "{ended:?}");
    assert!(ended.stderr.contains(": Too many open files"), "{ended:?}");
    assert!(ended.stderr.contains("service \"s0\" is stopping"), "{ended:?}");
}

#[test]
fn a_soft_limit_on_descriptors_holds_for_services_and_not_for_the_init() {
    let service = |number| {
        format!(
            "[[service]]\nname = \"s{number}\"\noom-score-adj = 1000\n\
             command = [\"sh\", \"-c\", \"ulimit -Sn; exec sleep 1000\"]\n"
        )
    };
    let file = bundle(&(0..30).map(service).collect::<String>());
    let path = file.path().to_str().unwrap();
    let mut running = start(&mut behind("ulimit -Sn 40", &["run", "-f", path]));
    for _ in 0..30 {
        let line = running.line();
        assert!(line.ends_with("] 40"), "{line}");
    }
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
}

#[test]
fn a_limit_that_cannot_be_set_is_named() {
    let service = "[[service]]\nname = \"a\"\ncommand = [\"true\"]\n\
                   rlimits = { core = 1, nofile = { soft = 1, hard = \"unlimited\" } }\n";
    let file = bundle(service);
    let ended = run(&mut behind("true", &["run", "-f", file.path().to_str().unwrap()]));
    assert_eq!(ended.code(), 125);
    assert!(ended.stderr.contains("can't set limit `nofile`"), "{ended:?}");
}

#[test]
fn only_kills_for_want_of_memory_since_the_start_are_in_the_record() {
    if !positions().contains(&Position::Pid1) {
        return;
    }
    let count = "/sys/fs/cgroup/memory.events";
    // A control group that is older than the init, as a container's that was started again.
    let setup = format!("mount -t tmpfs none /sys/fs/cgroup && echo oom_kill 3 >{count}");
    for position in positions() {
        let record = |script: &str| {
            let mut command = Command::new("unshare");
            let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["-Ur"] };
            command.args(user).args(["--mount", "sh", "-c"]);
            command.args([&format!("{setup} && exec \"$@\""), "sh"]);
            let init = harness::init(position);
            command.arg(init.get_program()).args(init.get_args());
            let ended = run(command.args(["--", "sh", "-c", script]));
            assert_eq!(ended.code(), 137, "{ended:?}");
            ended.record().to_owned()
        };
        let other = record("kill -KILL $$");
        assert!(!other.contains("memory"), "{position:?}: {other}");
        let killed = record(&format!("read line; echo oom_kill 5 >{count}; kill -KILL $$"));
        assert!(killed.ends_with("; 2 out-of-memory kills seen in the cgroup"), "{killed}");
    }
}

#[test]
fn closed_standard_descriptors_do_no_harm() {
    let file =
        bundle("[[service]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"echo lost; exit 6\"]\n");
    let path = file.path().to_str().unwrap();
    for setup in ["exec <&-", "exec >&-", "exec 2>&-", "exec <&- >&- 2>&-"] {
        assert_eq!(run(&mut behind(setup, &["--", "sh", "-c", "exit 3"])).code(), 3, "{setup}");
        assert_eq!(run(&mut behind(setup, &["run", "-f", path])).code(), 6, "{setup}");
    }
}

#[test]
fn a_full_disk_behind_stdout_does_no_harm() {
    let file = bundle(
        "[[service]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"yes | head -n 99999; exit 6\"]\n",
    );
    let path = file.path().to_str().unwrap();
    let setup = "exec >/dev/full 2>/dev/full";
    assert_eq!(run(&mut behind(setup, &["run", "-f", path])).code(), 6);
}

#[test]
fn a_storm_of_orphans_and_signals_holds_up_neither_signals_nor_the_end() {
    for position in positions() {
        let storm = "i=0; while [ $i -lt 20000 ]; do (: &); i=$((i+1)); done";
        let script = format!("({storm}; echo stormed) & exec WITNESS up USR1=usr1 TERM=term!5");
        let mut running = start_script(position, &[], &script);
        running.wait_for("up");
        for _ in 0..200 {
            running.signal("USR1");
        }
        running.wait_for("usr1");
        running.wait_for("stormed");
        running.signal("TERM");
        running.wait_for("term");
        assert_eq!(running.end().code(), 5, "{position:?}");
    }
}

#[test]
fn thousands_of_orphans_at_once_are_reaped() {
    let script =
        "i=0; while [ $i -lt 2000 ]; do sleep 1000 & i=$((i+1)); done; echo up; exec WITNESS ready";
    let mut running = start_script(Position::Child, &[], script);
    running.wait_for("up");
    let shell = running.command_pid();
    // All of them become the init's children at once, and are asked to end.
    harness::kill(shell, "KILL");
    let ended = running.end();
    assert_eq!(ended.code(), 137);
    assert!(!ended.record().contains("overran"), "{}", ended.record());
}

#[test]
fn what_is_left_behind_is_asked_without_proc() {
    if !positions().contains(&Position::Pid1) {
        return;
    }
    // Without --mount-proc /proc is the outer namespace's, which tells PID 1 nothing.
    let mut command = Command::new("unshare");
    let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["-Ur"] };
    command.args(user).args(["--pid", "--fork", "--kill-child"]).arg(harness::binary());
    let script = harness::with_witness("setsid WITNESS up TERM=asked!0 & read line; exit 5");
    let mut running = start(command.args(["--grace", "1h", "--", "sh", "-c", &script]));
    running.wait_for("up");
    let ended = running.end();
    assert_eq!(ended.code(), 5, "{ended:?}");
    assert!(ended.stdout.contains("asked"), "{ended:?}");
}

#[test]
fn where_it_can_not_become_the_reaper_it_says_so_and_goes_on() {
    if !has("strace") {
        return;
    }
    let service = "[[service]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"exit 3\"]\n";
    let file = bundle(service);
    let file = file.path().to_str().unwrap();
    for arguments in [&["run", "-f", file][..], &["--", "sh", "-c", "exit 3"]] {
        let mut command = Command::new("strace");
        command.args(["-o", "/dev/null", "-e", "trace=prctl", "-e", "inject=prctl:error=EINVAL"]);
        let ended = run(command.arg(harness::binary()).args(arguments));
        assert_eq!(ended.code(), 3, "{ended:?}");
        let words = "can't become the reaper of orphans: Invalid argument";
        assert_eq!(ended.stderr.matches(words).count(), 1, "{ended:?}");
    }
}

#[test]
fn the_first_of_two_deaths_is_told_whichever_service_it_was() {
    if !has("strace") {
        return;
    }
    let service = "[[service]]\nname = \"NAME\"\n\
                   command = [\"sh\", \"-c\", \"echo up; exec sleep 1000\"]\n";
    let file = bundle(&(service.replace("NAME", "a") + &service.replace("NAME", "b")));
    // Each return from the poll is late, so that both are dead when the init looks.
    let mut command = Command::new("strace");
    command.args(["-o", "/dev/null", "-e", "trace=epoll_wait"]);
    command.args(["-e", "inject=epoll_wait:delay_exit=1000000"]).arg(harness::binary());
    let mut running = start(command.args(["run", "-f"]).arg(file.path()));
    let mut up = [running.line(), running.line()];
    up.sort();
    assert_eq!(up, ["[a] up", "[b] up"]);
    let init = harness::children(running.pid())[0];
    let services = harness::children(init);
    harness::kill(init, "HUP");
    for service in services.iter().rev() {
        harness::kill(*service, "KILL");
        until("it is dead", || {
            let stat = std::fs::read_to_string(format!("/proc/{service}/stat")).ok()?;
            stat.contains(") Z ").then_some(())
        });
    }
    let ended = running.end();
    assert!(ended.record().contains("service \"b\" was killed by SIGKILL"), "{ended:?}");
}

#[test]
fn a_service_that_has_ended_before_the_init_looked_is_not_checked() {
    if !has("strace") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let asked = |name: &str| directory.path().join(name);
    let service = |name: &str, command: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\ncommand = [{command}]\non-exit = \"ignore\"\n\
             live = {{ exec = [\"sh\", \"-c\", \"echo >> {}\"], period = \"10ms\" }}\n",
            asked(name).display()
        )
    };
    let file = bundle(&(service("gone", "\"true\"") + &service("there", "\"sleep\", \"1000\"")));
    // Each return from the poll is late, so that it runs and has ended when the init looks.
    let running = start(&mut injected("epoll_wait:delay_exit=100000", &file));
    until("the other one is asked", || {
        let text = std::fs::read_to_string(asked("there")).ok()?;
        (text.lines().count() >= 3).then_some(())
    });
    assert!(!asked("gone").exists());
    assert_eq!(terminated(running).code(), 0);
}

/// The second starts when the first has said that it is ready.
const TWO_SERVICES: &str = r#"
[[service]]
name = "a"
notify = "fd:5"
command = ["sh", "-c", "echo first; echo oops >&2; echo >&5; exec sleep 1000"]

[[service]]
name = "b"
after = ["a"]
command = ["sh", "-c", "echo second; exit 7"]
"#;

/// The init behind strace, which makes some of its system calls fail, with this bundle.
fn injected(rule: &str, file: &tempfile::NamedTempFile) -> Command {
    let mut command = Command::new("strace");
    command.args(["-o", "/dev/null", "-e", &format!("inject={rule}")]);
    command.arg(harness::binary()).args(["run", "-f"]).arg(file.path());
    command
}

#[test]
fn without_pidfds_each_sigchld_is_looked_at_at_once() {
    if !has("strace") {
        return;
    }
    let service =
        |name| format!("[[service]]\nname = \"{name}\"\ncommand = [\"sleep\", \"1000\"]\n");
    let ready =
        "[[service]]\nname = \"up\"\ncommand = [\"sh\", \"-c\", \"echo up; exec sleep 1000\"]\n";
    let services: String = (0..9).map(|number| service(format!("s{number}"))).collect();
    let file = bundle(&(services + ready));
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("strace");
    command
        .args(["-e", "trace=read,?epoll_wait,epoll_pwait,waitid,pidfd_open", "-o"])
        .arg(trace.path());
    command.args(["-e", "inject=pidfd_open:error=ENOSYS"]).arg(harness::binary());
    let mut running = start(command.args(["run", "-f"]).arg(file.path()));
    running.wait_for("[up] up");
    assert_eq!(terminated(running).code(), 0);
    let trace = std::fs::read_to_string(trace.path()).unwrap();
    // A record of SIGCHLD begins with 17.
    let looks: Vec<bool> = trace
        .split("epoll_")
        .filter(|turn| turn.contains("\"\\21\\0"))
        .map(|turn| turn.contains("waitid("))
        .collect();
    assert!(looks.len() > 5 && looks.iter().all(|looked| *looked), "{trace}");
}

/// Ends the init behind strace, whose only child it is.
fn terminated(running: harness::Running) -> harness::Ended {
    harness::kill(harness::children(running.pid())[0], "TERM");
    running.end()
}

#[test]
fn what_the_kernel_cannot_watch_is_looked_at() {
    if !has("strace") {
        return;
    }
    let file = bundle(TWO_SERVICES);
    for rule in ["epoll_ctl:error=ENOSPC", "epoll_ctl:error=ENOMEM:when=1..20+2"] {
        let ended = run(&mut injected(rule, &file));
        assert_eq!(ended.code(), 7, "{rule}: {ended:?}");
        let mut lines: Vec<&str> = ended.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["[a] first", "[b] second"], "{rule}: {ended:?}");
        assert!(ended.stderr.contains("[a] oops\n"), "{rule}: {ended:?}");
        let words = ended.stderr.matches("sidecar-init: epoll_ctl(2): ").count();
        assert_eq!(words, 1, "{rule}: {ended:?}");
    }
}

#[test]
fn what_fails_once_is_tried_again() {
    if !has("strace") {
        return;
    }
    let file = bundle(TWO_SERVICES);
    // The first reads are those of the file and of libc.
    for rule in ["read:error=EIO:when=14+3", "wait4:error=ENOMEM:when=1", "waitid:error=ENOMEM"] {
        let ended = run(&mut injected(rule, &file));
        assert_eq!(ended.code(), 7, "{rule}: {ended:?}");
        let mut lines: Vec<&str> = ended.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["[a] first", "[b] second"], "{rule}: {ended:?}");
        assert!(ended.stderr.contains("[a] oops\n"), "{rule}: {ended:?}");
    }
}

#[test]
fn a_client_that_cannot_be_let_in_at_once_is_let_in_later() {
    if !has("strace") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let file = bundle(&format!(
        "[bundle]\nsocket = \"{}\"\n[[service]]\nname = \"a\"\n\
         command = [\"sh\", \"-c\", \"echo up; exec sleep 1000\"]\n",
        socket.display()
    ));
    for error in ["ENFILE", "EMFILE", "ENOMEM", "ENOBUFS"] {
        let rule = format!("accept4:error={error}:when=1");
        let mut running = start(&mut injected(&rule, &file));
        running.wait_for("[a] up");
        for _ in 0..2 {
            let mut stream = BufReader::new(UnixStream::connect(&socket).unwrap());
            stream.get_ref().set_read_timeout(Some(HANG)).unwrap();
            writeln!(stream.get_mut(), "{{\"command\": \"health\"}}").unwrap();
            let mut answer = String::new();
            stream.read_line(&mut answer).unwrap();
            assert!(answer.contains("\"ok\":true"), "{error}: {answer}");
        }
        assert_eq!(terminated(running).code(), 0, "{error}");
    }
}

#[test]
fn an_event_that_cannot_be_told_at_once_is_told_later() {
    if !has("strace") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("told");
    let command = format!("[\"sh\", \"-c\", \"echo $SIDECAR_INIT_EVENT >>{}\"]", told.display());
    for way in [format!("file = \"{}\"", told.display()), format!("command = {command}")] {
        let _ = std::fs::remove_file(&told);
        let file = bundle(&format!(
            "[bundle]\non-event = {{ {way}, events = [\"started\"] }}\n\
             [[service]]\nname = \"a\"\ncommand = [\"sleep\", \"1000\"]\n"
        ));
        // The first one makes the service.
        let rule = "clone:error=EAGAIN:when=2";
        let running = start(&mut injected(rule, &file));
        until("the event is told", || {
            let told = std::fs::read_to_string(&told).unwrap_or_default();
            told.contains("\"started\"").then_some(())
        });
        assert_eq!(terminated(running).code(), 0, "{way}");
    }
}

/// The service `a` with this check.
fn checked(check: &str) -> tempfile::NamedTempFile {
    bundle(&format!(
        "[[service]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"{}\"]\n{check}\n",
        harness::with_witness("exec WITNESS up TERM=!0")
    ))
}

#[test]
fn what_cannot_be_checked_is_no_failure() {
    if !has("strace") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checked");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let probes = [
        ("socket", format!("tcp = \"{}\"", listener.local_addr().unwrap())),
        // The first one makes the service.
        ("clone", format!("exec = [\"touch\", \"{}\"]", path.display())),
    ];
    let was_checked = |call: &str| match call {
        "socket" => drop(listener.accept().unwrap()),
        _ => until("the command is run", || path.exists().then_some(())),
    };
    // Neither does it fail, nor is it ready before somebody could look.
    for (call, probe) in probes {
        for check in ["live", "ready"] {
            let _ = std::fs::remove_file(&path);
            let file = checked(&format!(
                "{check} = {{ {probe}, period = \"10ms\"{} }}",
                if check == "live" { ", failures = 1" } else { "" }
            ));
            let from = if call == "clone" { 2 } else { 1 };
            let rule = format!("{call}:error=EAGAIN:when={from}..{}", from + 3);
            let mut running = start(&mut injected(&rule, &file));
            running.wait_for("[a] up");
            was_checked(call);
            let ended = terminated(running);
            assert_eq!(ended.code(), 0, "{rule}: {ended:?}");
            let words =
                ended.stderr.matches("\"a\" could not be checked, which does not count").count();
            assert_eq!(words, 1, "{rule}: {ended:?}");
        }
    }
}

#[test]
fn a_start_that_cannot_be_checked_for_twice_its_time_says_so() {
    if !has("strace") {
        return;
    }
    let file =
        checked("ready = { tcp = \"127.0.0.1:1\", period = \"10ms\" }\nstart-timeout = \"100ms\"");
    let ended = run(&mut injected("socket:error=EMFILE", &file));
    assert_eq!(ended.code(), 124, "{ended:?}");
    let words = "did not become ready in time: could not be checked: ";
    assert!(ended.stderr.contains(words), "{ended:?}");
}

#[test]
fn a_pipe_of_another_user_is_never_written_to_directly() {
    if !has("strace") || !is_root() {
        return;
    }
    let copy = tempfile::tempdir().unwrap();
    let (binary, trace) = (copy.path().join("sidecar-init"), copy.path().join("trace"));
    std::fs::copy(harness::binary(), &binary).unwrap();
    let file = copy.path().join("bundle.toml");
    let service = "[[service]]\nname = \"a\"\n\
                   command = [\"sh\", \"-c\", \"yes | head -n 100000; exit 7\"]\n";
    std::fs::write(&file, service).unwrap();
    let open = Command::new("chmod").args(["-R", "755"]).arg(copy.path()).status().unwrap();
    assert!(open.success());
    let mut command = Command::new("strace");
    command.arg("-o").arg(&trace).args(["-e", "trace=write,splice", "setpriv"]);
    command.args(["--reuid", "54321", "--regid", "54321", "--clear-groups"]).arg(binary);
    let ended = run(command.args(["run", "-f"]).arg(&file));
    assert_eq!(ended.code(), 7, "{ended:?}");
    assert_eq!(ended.stdout, "[a] y\n".repeat(100_000));
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(trace.contains("SPLICE_F_NONBLOCK"), "{trace}");
    // Whoever else writes to it at that moment could make it wait.
    let direct =
        trace.lines().find(|line| line.starts_with("write(1,") || line.starts_with("write(2,"));
    assert_eq!(direct, None);
}

#[test]
fn what_can_not_be_closed_is_no_reason_to_end() {
    if !has("strace") {
        return;
    }
    let mut command = Command::new("strace");
    // The first few are the loader's.
    command.args(["-o", "/dev/null", "-e", "inject=close:error=EIO:when=5+"]);
    command.arg(harness::binary());
    // What it leaves behind is looked for in a directory.
    let ended = run(command.args(["--", "sh", "-c", "(setsid sleep 1000 &); exit 6"]));
    assert_eq!(ended.code(), 6, "{ended:?}");
}

#[test]
fn a_limit_that_the_kernel_does_not_tell_is_no_reason_to_end() {
    if !has("strace") {
        return;
    }
    let file = bundle("[[service]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"exit 6\"]\n");
    let mut command = Command::new("strace");
    command.args(["-o", "/dev/null", "-e", "inject=prlimit64:error=EPERM"]);
    let ended = run(command.arg(harness::binary()).args(["run", "-f"]).arg(file.path()));
    assert_eq!(ended.code(), 6, "{ended:?}");
}

#[test]
fn the_timer_is_kept_when_the_command_starts_late() {
    if !has("strace") {
        return;
    }
    let mut command = Command::new("strace");
    // After the signals and the process: how the exec went is not watched, and learnt by the timer.
    command.args(["-o", "/dev/null", "-e", "inject=epoll_ctl:error=ENOMEM:when=3"]);
    command.arg(harness::binary()).args(["--grace", "100ms", "--"]);
    let script = harness::with_witness("exec WITNESS up TERM=term");
    let mut running = start(command.args(["sh", "-c", &script]));
    running.wait_for("up");
    let init = harness::children(running.pid())[0];
    until("it has let go of its folder", || {
        std::fs::read_link(format!("/proc/{init}/cwd")).ok().filter(|cwd| cwd == Path::new("/"))
    });
    harness::kill(init, "TERM");
    running.wait_for("term");
    let ended = running.end();
    assert_eq!(ended.code(), 137, "after the grace: {ended:?}");
}

#[test]
fn an_idle_init_makes_no_system_call() {
    if !has("strace") {
        return;
    }
    let sleeper = "[[service]]\nname = \"NAME\"\ncommand = [\"sleep\", \"1000\"]\n";
    let file = bundle(&(sleeper.replace("NAME", "a") + &sleeper.replace("NAME", "b")));
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("strace");
    command.arg("-o").arg(trace.path()).arg(harness::binary());
    let running = start(command.args(["run", "-f"]).arg(file.path()));
    let read = || std::fs::read_to_string(trace.path()).unwrap();
    // Somebody else's time passes: a process that sleeps.
    let pass = |seconds| assert!(Command::new("sleep").arg(seconds).status().unwrap().success());
    // The last call is the wait that has not returned, and it is not one of those between a start
    // and the news of it.
    let idle = || {
        let text = read();
        pass("0.2");
        let waits = text.ends_with("epoll_wait(3, ") || text.ends_with(", -1");
        (waits && read() == text).then_some(text)
    };
    let before = until("it waits", idle);
    pass("1");
    assert_eq!(read(), before);
    let init = harness::children(running.pid())[0];
    harness::kill(init, "TERM");
    assert_eq!(running.end().code(), 0);
}

#[test]
fn a_signal_that_the_kernel_refuses_is_part_of_the_answer() {
    if !has("strace") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let script = harness::with_witness("exec WITNESS up HUP=HUP TERM=TERM!0");
    let service = |name: &str| {
        format!("[[service]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n")
    };
    let file = bundle(&format!(
        "[bundle]\nsocket = \"{}\"\n{}{}",
        socket.display(),
        service("a"),
        service("b")
    ));
    let rule = "pidfd_send_signal,kill:error=EPERM:when=1";
    let mut running = start(&mut injected(rule, &file));
    let client = |arguments: &[&str]| {
        let mut command = Command::new(harness::binary());
        command.args(arguments).env("SIDECAR_INIT_SOCKET", &socket).output().unwrap()
    };
    for _ in 0..2 {
        assert!(running.line().ends_with("] up"));
    }
    let refused = client(&["signal", "a", "b", "HUP"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let words = "can't send SIGHUP to a: Operation not permitted; it was sent to b";
    assert!(said.contains(words), "{said}");
    running.wait_for("[b] HUP");
    assert!(client(&["shutdown"]).status.success());
    assert_eq!(running.end().code(), 0);
}
