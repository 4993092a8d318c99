//! The names of capabilities, capabilities(7).

use rustix::thread::CapabilitySet;

/// Bit n for capability n; `ALL` is every bit, including those of future kernels. Accepts `NET_RAW` and
/// `CAP_NET_RAW`, in upper or lower case.
pub fn bits(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if name == "ALL" {
        return Some(u64::MAX);
    }
    CapabilitySet::from_name(name).map(|capability| capability.bits())
}

/// The names of these capabilities; `ALL` for every bit.
pub fn names(bits: u64) -> Vec<&'static str> {
    if bits == u64::MAX {
        return vec!["ALL"];
    }
    CapabilitySet::from_bits_retain(bits).iter_names().map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_are_the_same_thing() {
        let all = names(!(1 << 63));
        assert_eq!((all.len(), all[0], all[40]), (41, "CHOWN", "CHECKPOINT_RESTORE"));
        for (bit, name) in all.into_iter().enumerate() {
            assert_eq!((bits(name), names(1 << bit)), (Some(1 << bit), vec![name]));
        }
        assert_eq!(bits("all").map(names), Some(vec!["ALL"]));
        assert_eq!(names(0), [""; 0]);
        assert_eq!(bits("cap_net_raw"), bits("NET_RAW"));
        assert_eq!(bits("NOSUCH"), None);
    }
}
