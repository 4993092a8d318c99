//! The terminal and job control, on a pseudo-terminal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::fs::File;
use std::io::{Read, Write};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};

use harness::{HANG, Position, positions};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Says what signals it gets and what it reads, until it reads `end`.
const REPORTER: &str = r#"
trap 'echo got INT' INT
trap 'echo got QUIT' QUIT
trap 'echo got WINCH' WINCH
echo ready
until [ "$line" = end ]; do read line && echo "<$line>"; done
exit 4
"#;

/// A program with a terminal of its own, and the person in front of it.
struct Screen {
    master: File,
    text: Receiver<Vec<u8>>,
    seen: String,
    child: Child,
}

impl Screen {
    /// Starts the program as the leader of a session with a new terminal, as `docker run -it`
    /// does.
    fn start(position: Position, program: &[&str]) -> Screen {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = File::options().read(true).write(true).open(path).unwrap();
        let child = harness::under(position, "setsid")
            .args(["--ctty", "--wait"])
            .args(program)
            .env("PS1", "shell> ")
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave)
            .spawn()
            .unwrap();
        let master = File::from(master);
        let mut reader = master.try_clone().unwrap();
        let (send, text) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO: nobody has the other end any more.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if send.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Screen { master, text, seen: String::new(), child }
    }

    fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads on until this is on the screen, and forgets what came before it.
    fn wait_for(&mut self, wanted: &str) {
        while !self.seen.contains(wanted) {
            let more = self.text.recv_timeout(HANG);
            let more =
                more.unwrap_or_else(|_| panic!("no {wanted:?} on the screen: {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
        let end = self.seen.find(wanted).unwrap() + wanted.len();
        self.seen.drain(..end);
    }

    fn code(&mut self) -> i32 {
        harness::until("it ends", || self.child.try_wait().unwrap()).code().unwrap()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
        let size = Winsize { ws_row: 30, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&screen.master, size).unwrap();
        screen.wait_for("got WINCH");
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
