//! The ssh command by which git reaches an upstream. Pure.

use std::path::Path;

use crate::config::Ssh;

/// Nothing that ssh could ask, guess or leave running: ssh_config(5).
const OPTIONS: [&str; 17] = [
    "GlobalKnownHostsFile=/dev/null",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "VerifyHostKeyDNS=no",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "BatchMode=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    "ForwardAgent=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "ControlMaster=no",
    "ControlPath=none",
    "LogLevel=ERROR",
];

/// A command line for the shell that git runs it with (`GIT_SSH_COMMAND` in git(1)).
pub(crate) fn command(ssh: &Ssh) -> String {
    let mut command = format!("ssh -F /dev/null -i {}", quoted(&ssh.key.to_string_lossy()));
    let known_hosts = format!("UserKnownHostsFile={}", known_hosts(&ssh.known_hosts));
    for option in std::iter::once(known_hosts.as_str()).chain(OPTIONS) {
        command.push_str(" -o ");
        command.push_str(&quoted(option));
    }
    command
}

/// ssh splits the value at white space unless it is quoted, and expands `%` and `${}`.
fn known_hosts(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy().replace('%', "%%"))
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_key_is_pinned_and_nothing_is_asked() {
        let ssh = Ssh { key: "/creds/it's".into(), known_hosts: "/creds/known hosts".into() };
        let command = command(&ssh);
        assert!(command.starts_with(r"ssh -F /dev/null -i '/creds/it'\''s' -o "), "{command}");
        assert!(command.contains("'UserKnownHostsFile=\"/creds/known hosts\"'"), "{command}");
        for option in ["StrictHostKeyChecking=yes", "BatchMode=yes", "ConnectTimeout=10"] {
            assert!(command.contains(&format!("-o '{option}'")), "{command}");
        }
    }
}
