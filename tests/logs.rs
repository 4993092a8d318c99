//! What becomes of the services' output.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Position, bundle, bundle_command, fifo, run, start};
use test_support::programs::has;
use test_support::until;

fn service(name: &str, script: &str, more: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\non-exit = \"ignore\"\n{more}\n"
    )
}

fn output(text: &str) -> harness::Ended {
    run(&mut bundle_command(Position::Child, &bundle(text)))
}

#[test]
fn lines_are_whole_and_keep_their_channel() {
    let ended =
        output(&service("a", "printf on; sleep 0.05; printf \"e\\ntwo\"; echo oops >&2", ""));
    assert_eq!(ended.stdout, "[a] one\n[a] two\n");
    assert!(ended.stderr.contains("[a] oops\n"), "{ended:?}");
}

#[test]
fn all_messages_of_a_turn_are_written_at_once() {
    if !has("strace") {
        return;
    }
    let text: String = (0..30)
        .map(|number| service(&format!("s{number}"), "echo up; exec sleep 9999", ""))
        .collect();
    let file = bundle(&text);
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("strace");
    command.args(["-e", "trace=write", "-o"]).arg(trace.path());
    let mut running = start(command.arg(harness::binary()).args(["run", "-f"]).arg(file.path()));
    (0..30).for_each(|_| assert!(running.line().ends_with("] up")));
    let init = harness::children(running.pid())[0];
    harness::kill(init, "TERM");
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    let trace = std::fs::read_to_string(trace.path()).unwrap();
    let writes = trace.lines().filter(|line| line.contains("sidecar-init: ")).count();
    let lines = ended.stderr.lines().count();
    // Of a stop there are two lines in a turn: one service has ended, and the next is to.
    assert!(lines > 60 && 4 * writes < 3 * lines, "{lines} lines in {writes} writes");
}

#[test]
fn what_is_odd_about_the_bundle_is_json_too() {
    let file = bundle(&("[bundle]\nlog = \"json\"\n".to_owned() + &service("a", "true", "")));
    let ended = run(bundle_command(Position::Child, &file).args(["--only", "a,web"]));
    let first = ended.stderr.lines().next().unwrap();
    let line: serde_json::Value = serde_json::from_str(first).unwrap();
    let message = line["message"].as_str().unwrap();
    assert!(message.starts_with("--only names unknown services: web"), "{line}");
}

#[test]
fn json_lines_have_time_service_stream_and_message() {
    let ended = output(
        &("[bundle]\nlog = \"json\"\n".to_owned()
            + &service("a", "printf \"say \\\"hi\\\"\\n\"", "")),
    );
    let line: serde_json::Value = serde_json::from_str(ended.stdout.trim()).unwrap();
    assert_eq!(line["service"], "a");
    assert_eq!(line["stream"], "stdout");
    assert_eq!(line["message"], "say \"hi\"");
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    for line in ended.stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line)
            .unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let record: serde_json::Value = serde_json::from_str(ended.record()).unwrap();
    assert_eq!(record["event"], "ended");
    assert_eq!(record["exit_code"], 0);
}

#[test]
fn inherited_output_is_left_alone() {
    let ended = output(&service("a", "printf \"plain\"", "log = \"inherit\""));
    assert_eq!(ended.stdout.trim_end(), "plain");
}

#[test]
fn an_endless_line_is_cut() {
    let ended = output(&service("a", "head -c 40000 /dev/zero | tr \"\\0\" x", ""));
    let lengths: Vec<usize> = ended.stdout.lines().map(|line| line.len() - "[a] ".len()).collect();
    let room = 16384 - "[a] \n".len();
    assert_eq!(lengths, [room, room, 40000 - 2 * room]);
}

#[test]
fn each_piece_of_an_endless_line_is_json() {
    let script = "head -c 40000 /dev/zero | tr \"\\0\" \"\\033\"; echo";
    let ended = output(&("[bundle]\nlog = \"json\"\n".to_owned() + &service("a", script, "")));
    let mut text = String::new();
    for line in ended.stdout.split_inclusive('\n') {
        assert!(line.len() <= 16384, "{} bytes", line.len());
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        text.push_str(value["message"].as_str().unwrap());
        let is_last = text.len() == 40000;
        assert_eq!(value.get("partial"), (!is_last).then_some(&true.into()));
    }
    assert_eq!(text, "\u{1b}".repeat(40000));
}

#[test]
fn what_the_dying_wrote_is_kept_while_a_grandchild_holds_the_pipe() {
    let file = bundle(
        &("[bundle]\ngrace = \"300ms\"\n".to_owned()
            + &service("a", "(trap \"\" TERM; sleep 1000) & echo last words; exit 3", "")),
    );
    let ended = run(&mut bundle_command(Position::Child, &file));
    assert_eq!(ended.stdout, "[a] last words\n");
    assert_eq!(ended.code(), 3);
}

#[test]
fn no_line_of_several_services_is_torn() {
    let count = 100_000;
    let services: String = (0..4)
        .map(|number| {
            let name = format!("s{number}");
            service(&name, &format!("yes {name}-abcdefghijklmnopqrstuvwxyz | head -n {count}"), "")
        })
        .collect();
    let ended = output(&services);
    assert_eq!(ended.stdout.lines().count(), 4 * count);
    for line in ended.stdout.lines() {
        let name = &line[1..3];
        assert_eq!(line, format!("[{name}] {name}-abcdefghijklmnopqrstuvwxyz"));
    }
}

#[test]
fn a_stalled_reader_stalls_neither_death_nor_shutdown() {
    let chatty = service("chatty", "yes | head -c 10000000", "");
    let dying =
        "[[service]]\nname = \"dying\"\ncommand = [\"sh\", \"-c\", \"read x < FIFO; exit 7\"]\n";
    let directory = tempfile::tempdir().unwrap();
    let fifo = fifo(&directory, "go");
    let log = directory.path().join("record");
    let file = bundle(&(chatty + &dying.replace("FIFO", &fifo)));
    let mut command = bundle_command(Position::Child, &file);
    command.arg("--termination-log").arg(&log);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert_eq!(first, "[chatty] y\n");
    // From here on nobody reads. The death must be noticed, and the bundle come down.
    std::fs::write(&fifo, "go\n").unwrap();
    let status = until("it ends although nobody reads", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(7));
    let record = std::fs::read_to_string(log).unwrap();
    assert!(record.contains("service \"dying\" exited with code 7"), "{record}");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
}

#[test]
fn a_word_of_readiness_behind_output_that_nobody_reads_counts() {
    let chatty = "[[service]]\nname = \"chatty\"\ncommand = [\"yes\"]\n";
    let directory = tempfile::tempdir().unwrap();
    let go = fifo(&directory, "go");
    let first = service(
        "first",
        &format!("read x < {go}; echo ready; exec sleep 1000"),
        "ready = { log = \"ready\" }\nstart-timeout = \"2s\"",
    )
    .replace("ignore", "shutdown");
    let second = service("second", "echo second >&2", "requires = [\"first\"]");
    let file = bundle(&(chatty.to_owned() + &first + &second));
    let mut command = bundle_command(Position::Child, &file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _nobody_reads = child.stdout.take().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut says = |wanted: &str| assert!(stderr.any(|line| line.contains(wanted)), "{wanted}");
    says("\"first\" started");
    let init = i32::try_from(child.id()).unwrap();
    let of =
        |pid: &i32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let is_chatty = |pid: &i32| of(pid, "comm") == "yes\n";
    let chatty = until("it writes", || harness::children(init).into_iter().find(is_chatty));
    let mut idle = 0;
    until("there is no more room", || {
        let is_idle = of(&chatty, "stat").contains(") S ");
        idle = if is_idle { idle + 1 } else { 0 };
        (idle > 30).then_some(())
    });
    std::fs::write(&go, "go\n").unwrap();
    says("[second] second");
    harness::kill(init, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_is_left_is_passed_on_after_a_pause() {
    // More than a pipe takes, and less than the init keeps beside it.
    let directory = tempfile::tempdir().unwrap();
    let go = fifo(&directory, "go");
    let script = format!("read x < {go}; yes | head -c 100000");
    let file = bundle(&service("a", &script, ""));
    let mut command = bundle_command(Position::Child, &file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let init = i32::try_from(child.id()).unwrap();
    let list = format!("/proc/{init}/task/{init}/children");
    let has_child = || !std::fs::read_to_string(&list).unwrap_or_default().is_empty();
    std::fs::write(&go, "go\n").unwrap();
    until("it has ended", || (!has_child()).then_some(()));
    harness::kill(init, "STOP");
    let begin = Instant::now();
    until("a reader would be given up", || {
        (begin.elapsed() > Duration::from_millis(3500)).then_some(())
    });
    harness::kill(init, "CONT");
    let mut all = String::new();
    stdout.read_to_string(&mut all).unwrap();
    assert_eq!(all.len(), 50_000 * "[a] y\n".len());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_record_does_not_wait_for_the_reader_of_stdout() {
    if !has("strace") {
        return;
    }
    let chatty = service("chatty", "yes | head -c 10000000", "");
    let dying = service("dying", "read x < FIFO; exit 7", "").replace("ignore", "shutdown");
    let directory = tempfile::tempdir().unwrap();
    let fifo = fifo(&directory, "go");
    let file = bundle(&(chatty + &dying.replace("FIFO", &fifo)));
    let trace = directory.path().join("trace");
    let mut command = Command::new("strace");
    command
        .args(["-e", "trace=?epoll_wait,epoll_pwait,write", "-e", "signal=none", "-o"])
        .arg(&trace);
    command.arg(harness::binary()).args(["run", "-f"]).arg(file.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let nobody_reads = child.stdout.take().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(stderr.any(|line| line.contains("\"dying\" started")));
    // A pipe holds 64 KiB, pipe(7).
    until("it is full", || {
        (rustix::io::ioctl_fionread(&nobody_reads).unwrap() >= 60 * 1024).then_some(())
    });
    std::fs::write(&fifo, "go\n").unwrap();
    assert!(stderr.any(|line| line.contains("ended: ")));
    child.wait().unwrap();
    // What is left for stdout gets its time before the record, and that is enough.
    let trace = std::fs::read_to_string(trace).unwrap();
    let [before, after] =
        trace.split_once("sidecar-init: ended: ").map(|(before, after)| [before, after]).unwrap();
    let last_wait = before.lines().rfind(|line| line.starts_with("epoll_")).unwrap();
    assert!(last_wait.ends_with("= 0"), "it was waited for in vain: {before}");
    assert!(!after.contains("epoll_"), "{after}");
}

#[test]
fn lines_are_dropped_and_counted_where_the_service_says_so() {
    let file = bundle(&service("a", "yes | head -n 1000000; echo done >&2", "log-full = \"drop\""));
    let mut command = bundle_command(Position::Child, &file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // The service is done although nobody has read its output.
    while line != "[a] done\n" {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0);
    }
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    let is_note = |line: &&str| line.contains("lines dropped, nobody read them");
    let note = text.lines().find(is_note).unwrap_or_else(|| panic!("no note"));
    let dropped: usize = note.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert_eq!(text.lines().filter(|line| *line == "[a] y").count() + dropped, 1_000_000);
}

#[test]
fn a_closed_stdout_is_survived() {
    let file = bundle(
        &(service("a", "yes | head -n 100000", "")
            + &service("b", "read x < /dev/null; exit 4", "")),
    );
    let mut command = bundle_command(Position::Child, &file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    let status = until("it ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(4));
}

#[test]
fn stdout_can_be_opened_again() {
    let user = if rustix::process::geteuid().is_root() { "user = 12345" } else { "" };
    let ended = output(&service("a", "echo again > /dev/stdout; echo too > /dev/stderr", user));
    assert_eq!(ended.stdout, "[a] again\n", "{ended:?}");
    assert!(ended.stderr.contains("[a] too\n"), "{ended:?}");
}

#[test]
fn inherited_output_of_another_user_can_be_written_to_but_not_opened_again() {
    if !test_support::notices::is_root() {
        return;
    }
    let script = "echo plain; echo again > /dev/stdout || echo refused";
    let ended = output(&service("a", script, "user = 12345\nlog = \"inherit\""));
    assert_eq!(ended.stdout, "plain\nrefused\n", "as docs/bundle.md says: {ended:?}");
}

#[test]
fn inherited_descriptors_stay_blocking() {
    let file = bundle(
        &service("a", "echo up; read x < /dev/zero", "")
            .replace("read x < /dev/zero", "exec sleep 1000"),
    );
    let mut running = start(&mut bundle_command(Position::Child, &file));
    running.wait_for("[a] up");
    let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/1", running.pid())).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:\t")).unwrap();
    let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
    assert_eq!(flags & 0o4000, 0, "O_NONBLOCK is set");
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
}

/// A service that says on stderr that it has written a line on stdout, each time that something is
/// written into the FIFO `go`, and then ends with code 3.
fn on_demand(go: &str, times: usize) -> String {
    let script = format!(
        "i=0; while [ $i -lt {times} ]; do read x < {}; echo \"line $x\"; echo \"wrote $x\" >&2; \
         i=$((i+1)); done; exit 3",
        go
    );
    format!("[[service]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n")
}

#[test]
fn a_reader_of_a_fifo_that_comes_back_gets_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let (out, go) = (fifo(&directory, "out"), fifo(&directory, "go"));
    for json in [false, true] {
        let bundle_text = if json { "[bundle]\nlog = \"json\"\n" } else { "" };
        let file = bundle(&(bundle_text.to_owned() + &on_demand(&go, 14)));
        // Opening each of its ends waits for the other one.
        let path = out.clone();
        let opening = std::thread::spawn(move || File::create(path).unwrap());
        let mut reader = BufReader::new(File::open(&out).unwrap());
        let mut command = bundle_command(Position::Child, &file);
        command.stdout(opening.join().unwrap()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        // Open at both ends, so that what is written waits for the service.
        let mut trigger = File::options().read(true).write(true).open(&go).unwrap();
        let mut write = |word: &str| {
            writeln!(trigger, "{word}").unwrap();
            assert!(stderr.any(|line| line.contains(&format!("wrote {word}"))), "no {word}");
        };
        let mut line = String::new();
        write("0");
        reader.read_line(&mut line).unwrap();
        assert!(line.contains("line 0"), "{line}");
        drop(reader);
        // More than the init reads of one pipe before the other has its turn.
        (1..13).for_each(|number| write(&number.to_string()));
        let mut reader = BufReader::new(
            File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&out).unwrap(),
        );
        rustix::fs::fcntl_setfl(reader.get_ref(), rustix::fs::OFlags::empty()).unwrap();
        write("13");
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let (note, lines) = rest.split_once('\n').unwrap();
        let is_said = |dropped: usize| {
            let words = format!("sidecar-init: {dropped} lines dropped: nobody read them");
            note.replace("\"message\":\"", "sidecar-init: ").contains(&words)
                && dropped + lines.matches("line ").count() == 13
        };
        assert!((1..13).any(is_said) && lines.contains("line 13"), "{rest}");
        assert_eq!(json, serde_json::from_str::<serde_json::Value>(note).is_ok(), "{rest}");
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }
}

#[test]
fn lines_that_a_full_disk_does_not_take_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (out, go) = (directory.path().join("out"), fifo(&directory, "go"));
    let script = format!(
        "i=0; while [ $i -lt 200 ]; do echo \"line $i abcdefghijklmnopqrstuvwxyz\"; i=$((i+1)); done; \
         while read x; do echo \"heard $x\" >&2; [ $x = last ] && break; done < {}; \
         echo last; exit 3",
        go
    );
    let file =
        bundle(&format!("[[service]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n"));
    // A file that may not grow any further (EFBIG) stands for a disk.
    let limited = "ulimit -f 4; exec \"$@\" >> \"$0\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(&out).arg(harness::binary());
    command.args(["run", "-f"]).arg(file.path()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut trigger = File::options().read(true).write(true).open(&go).unwrap();
    let mut tell = |word: &str| {
        writeln!(trigger, "{word}").unwrap();
        assert!(stderr.any(|line| line.contains(&format!("heard {word}"))), "no {word}");
    };
    // More than the init reads of one pipe before the other has its turn.
    (0..12).for_each(|number| tell(&number.to_string()));
    let read = || std::fs::read_to_string(&out).unwrap();
    let before = read();
    assert!(before.len() >= 2048, "{before}");
    File::options().write(true).open(&out).unwrap().set_len(0).unwrap();
    tell("last");
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let after = read();
    let whole = |text: &str| {
        text.split_inclusive('\n')
            .filter(|line| line.starts_with("[a] ") && line.ends_with('\n'))
            .count()
    };
    let words = "sidecar-init: ";
    let note =
        after.lines().find(|line| line.starts_with(words)).unwrap_or_else(|| panic!("{after}"));
    assert!(note.ends_with(" lines dropped: File too large"), "{note}");
    let dropped: usize = note[words.len()..].split(' ').next().unwrap().parse().unwrap();
    assert_eq!(whole(&before) + dropped + whole(&after), 201, "{before}{after}");
    assert!(after.ends_with("\n[a] last\n"), "{after}");
    // The line that was cut off is ended before anything else.
    assert_eq!(after.starts_with('\n'), !before.ends_with('\n'), "{after}");
}

#[test]
fn what_others_can_cause_without_end_is_said_once_in_a_while_and_counted() {
    let text =
        "[[service]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"echo up; exec sleep 1000\"]\n";
    let mut running = harness::start_bundle(Position::Child, text);
    running.wait_for("[a] up");
    for signal in ["HUP", "USR1", "USR2", "TERM"] {
        running.signal(signal);
    }
    let ended = running.end();
    assert_eq!(ended.stderr.matches("received and dropped").count(), 2, "{ended:?}");
    assert!(ended.stderr.contains("under [signals] (2 times like this)\n"), "{ended:?}");
}
