//! The upstream's sshd, with keys of its own, on a port of its own.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use test_support::programs::in_path;
use test_support::{free_port, until};

use super::programs::found;
use super::{run, text};

pub struct Sshd {
    port: u16,
    child: Option<Child>,
    program: PathBuf,
    config: PathBuf,
}

impl Sshd {
    pub fn find() -> Option<PathBuf> {
        let usual = Some(PathBuf::from("/usr/sbin/sshd")).filter(|path| path.exists());
        found("sshd (Debian: openssh-server)", usual.or_else(|| in_path("sshd")))
    }

    /// Makes the keys, and starts it.
    pub fn start(program: &Path, folder: &Path) -> Sshd {
        for key in ["host", "key"] {
            let file = folder.join(key);
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file));
        }
        if rustix::process::geteuid().is_root() {
            // Where sshd puts its unprivileged half; Debian's service makes it.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = free_port();
        let path = folder.display();
        let config = folder.join("sshd_config");
        let lines = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {path}/host\nUsePAM no\nPidFile none\n\
             AuthorizedKeysFile {path}/key.pub\nStrictModes no\nPermitRootLogin yes\n\
             MaxStartups 100\n"
        );
        std::fs::write(&config, lines).unwrap();
        let mut sshd = Sshd { port, child: None, program: program.to_owned(), config };
        let host = std::fs::read_to_string(folder.join("host.pub")).unwrap();
        std::fs::write(folder.join("known_hosts"), sshd.known_hosts(&host)).unwrap();
        sshd.up();
        sshd
    }

    pub fn up(&mut self) {
        let mut command = Command::new(&self.program);
        command.arg("-D").arg("-e").arg("-f").arg(&self.config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let port = self.port;
        until("sshd listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    }

    /// Nobody answers at its port any more.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn known_hosts(&self, public_key: &str) -> String {
        let mut words = public_key.split(' ');
        let (kind, key) = (words.next().unwrap(), words.next().unwrap());
        format!("[127.0.0.1]:{} {kind} {key}\n", self.port)
    }

    pub fn url(&self, repository: &Path) -> String {
        let user = text(&run(Command::new("id").arg("-un")).stdout);
        format!("ssh://{}@127.0.0.1:{}{}", user.trim(), self.port, repository.display())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.down();
    }
}
