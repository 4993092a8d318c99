//! Sizes as people write them: `100MiB`. Pure.

const UNITS: [(&str, u32); 3] = [("KiB", 10), ("MiB", 20), ("GiB", 30)];

/// The number of bytes, at least one.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (number, shift) =
        UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))?;
    let number: u64 = number.trim_end().parse().ok()?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit() {
        assert_eq!(parse("2KiB"), Some(2048));
        assert_eq!(parse("100 MiB"), Some(100 << 20));
        assert_eq!(parse("1GiB"), Some(1 << 30));
        for wrong in ["", "12", "0MiB", "-1MiB", "1MB", "99999999999999GiB"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
