//! The terminal and job control, on a pseudo-terminal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::screen::{REPORTER, Screen};
use harness::{Position, positions};

fn reporter(position: Position) -> Screen {
    Screen::start(position, &[&harness::binary(), "--", "sh", "-c", REPORTER])
}

#[test]
fn keys_and_window_reach_the_command() {
    for position in positions() {
        let mut screen = reporter(position);
        screen.wait_for("ready");
        screen.keys("\x03");
        screen.wait_for("got INT");
        screen.keys("\x1c");
        screen.wait_for("got QUIT");
        screen.resize(30, 90);
        screen.wait_for("got WINCH");
        screen.keys("end\n");
        screen.wait_for("<end>");
        assert_eq!(screen.code(), 4, "{position:?}");
    }
}

#[test]
fn the_main_command_of_a_bundle_has_the_terminal_and_its_services_do_not() {
    let text = "[[service]]\nname = \"side\"\ncommand = [\"sh\", \"-c\", \"\
                if (exec </dev/tty) 2>&-; then echo it has a terminal; else echo it has none; fi; \
                exec sleep 1000\"]\nready = { log = \"it has\" }\n";
    let file = harness::bundle(text);
    for position in positions() {
        let (binary, path) = (harness::binary(), file.path().to_str().unwrap());
        let bundle = [&*binary, "run", "-q", "-f", path, "--", "sh", "-c", REPORTER];
        let mut screen = Screen::start(position, &bundle);
        screen.wait_for("it has none");
        screen.wait_for("ready");
        screen.keys("\x03");
        screen.wait_for("got INT");
        screen.keys("end\n");
        screen.wait_for("<end>");
        assert_eq!(screen.code(), 4, "{position:?}");
    }
}

#[test]
fn ctrl_z_does_not_strand_a_command_without_a_shell() {
    for position in positions() {
        let mut screen = reporter(position);
        screen.wait_for("ready");
        screen.keys("\x1a");
        screen.keys("still here\n");
        screen.wait_for("<still here>");
        screen.keys("end\n");
        assert_eq!(screen.code(), 4, "{position:?}");
    }
}

#[test]
fn a_job_of_a_shell_stops_and_goes_on() {
    let mut screen = Screen::start(Position::Child, &["bash", "--norc", "--noprofile", "-i"]);
    screen.wait_for("shell> ");
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), REPORTER).unwrap();
    screen.keys(&format!("{} -- sh {}\n", harness::binary(), script.path().display()));
    screen.wait_for("ready");
    screen.keys("\x1a");
    screen.wait_for("Stopped");
    screen.wait_for("shell> ");
    screen.keys("echo in the $((1+1))nd shell\n");
    screen.wait_for("in the 2nd shell");
    screen.keys("fg\n");
    screen.keys("again\n");
    screen.wait_for("<again>");
    screen.keys("\x03");
    screen.wait_for("got INT");
    screen.keys("end\n");
    screen.wait_for("shell> ");
    screen.keys("echo code $?\n");
    screen.wait_for("code 4");
    screen.keys("exit\n");
    assert_eq!(screen.code(), 0);
}

#[test]
fn a_background_job_gets_the_terminal_when_it_comes_to_the_foreground() {
    let mut screen = Screen::start(Position::Child, &["bash", "--norc", "--noprofile", "-i"]);
    screen.wait_for("shell> ");
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), "echo up; read line; echo \"<$line>\"; exit 4\n").unwrap();
    screen.keys(&format!("{} -- sh {} &\n", harness::binary(), script.path().display()));
    screen.wait_for("up");
    // It wants to read, and the shell tells so before a prompt.
    let stopped = "until jobs | grep -q Stopped; do sleep 0.01; done; echo it $((1+1)) waits";
    screen.keys(&format!("{stopped}\n"));
    screen.wait_for("it 2 waits");
    screen.keys("fg\n");
    screen.keys("hello\n");
    screen.wait_for("<hello>");
    screen.wait_for("shell> ");
    screen.keys("echo code $?\n");
    screen.wait_for("code 4");
    screen.keys("exit\n");
    assert_eq!(screen.code(), 0);
}
