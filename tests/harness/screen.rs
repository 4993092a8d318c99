//! A program on a pseudo-terminal, and the person in front of it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{Position, under};
use test_support::{HANG, until};

/// Says what signals it gets and what it reads, until it reads `end`.
pub const REPORTER: &str = r#"
trap 'echo got INT' INT
trap 'echo got QUIT' QUIT
trap 'echo got WINCH' WINCH
echo ready
until [ "$line" = end ]; do read line && echo "<$line>"; done
exit 4
"#;

/// A program with a terminal of its own, and the person in front of it.
pub struct Screen {
    master: File,
    text: Receiver<Vec<u8>>,
    seen: String,
    child: Child,
}

impl Screen {
    /// Starts the program as the leader of a session with a new terminal, as `docker run -it`
    /// does.
    pub fn start(position: Position, program: &[&str]) -> Screen {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = File::options().read(true).write(true).open(path).unwrap();
        let child = under(position, "setsid")
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

    /// Types them.
    pub fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads on until this is on the screen, and forgets what came before it.
    pub fn wait_for(&mut self, wanted: &str) {
        while !self.seen.contains(wanted) {
            let more = self.text.recv_timeout(HANG);
            let more =
                more.unwrap_or_else(|_| panic!("no {wanted:?} on the screen: {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
        let end = self.seen.find(wanted).unwrap() + wanted.len();
        self.seen.drain(..end);
    }

    /// Makes the window this large.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// Waits for its end.
    pub fn code(&mut self) -> i32 {
        until("it ends", || self.child.try_wait().unwrap()).code().unwrap()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
