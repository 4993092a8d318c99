//! Durations as people write them. Pure.

use std::time::Duration;

/// A longer duration is an error, and the clock has a maximum.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A longer grace is an error: no orchestrator waits that long.
pub const LONGEST_GRACE: Duration = Duration::from_secs(60 * 60);

/// Parses `8s`, `500ms` or `1m 30s`, up to `longest`.
///
/// # Errors
/// The error in the text, and the fix.
pub fn parse(text: &str, longest: Duration) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= longest => Ok(duration),
        Ok(_) | Err(humantime::DurationError::NumberOverflow) => {
            // Not in years and months, whose length varies.
            let hours = longest.as_secs() / 3600;
            Err(format!("\"{text}\" is too long; it is at most {hours}h"))
        }
        Err(_) => Err(format!("\"{text}\" is not a duration; write it like 8s, 500ms or 1m 30s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Instant;

    #[test]
    fn what_is_too_long_is_told_from_what_is_none() {
        assert_eq!(parse("1m 30s", LONGEST), Ok(Duration::from_secs(90)));
        assert_eq!(parse("1h", LONGEST_GRACE), Ok(LONGEST_GRACE));
        for text in ["61m", "300000000000years", "99999999999999999999s"] {
            let error = format!("\"{text}\" is too long; it is at most 1h");
            assert_eq!(parse(text, LONGEST_GRACE), Err(error));
        }
        for text in ["", "soon", "8", "8 fortnights", "-1s"] {
            assert!(parse(text, LONGEST).unwrap_err().contains("is not a duration"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_time_can_be_reckoned_with(number: u64, unit in "(ns|us|ms|s|m|h|days|years)") {
            if let Ok(duration) = parse(&format!("{number}{unit}"), LONGEST) {
                prop_assert!(Instant::now().checked_add(duration).is_some());
            }
        }
    }
}
