//! The names of capabilities, capabilities(7).

/// By number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Bit n for capability n; `ALL` is every bit, those of kernels to come too. Takes `NET_RAW`
/// and `CAP_NET_RAW`, in either case.
pub fn bits(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if name == "ALL" {
        return Some(u64::MAX);
    }
    NAMES.iter().position(|known| *known == name).map(|bit| 1 << bit)
}

/// The names of these capabilities; `ALL` for every bit.
pub fn names(bits: u64) -> Vec<&'static str> {
    if bits == u64::MAX {
        return vec!["ALL"];
    }
    NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits >> bit & 1 == 1)
        .map(|(_, name)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_are_the_same_thing() {
        for name in NAMES.into_iter().chain(["ALL"]) {
            assert_eq!(bits(name).map(names), Some(vec![name]));
        }
        assert_eq!(names(0), [""; 0]);
        assert_eq!(bits("cap_net_raw"), bits("NET_RAW"));
        assert_eq!(bits("NOSUCH"), None);
    }
}
