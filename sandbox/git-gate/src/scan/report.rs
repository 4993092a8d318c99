//! What gitleaks says, and whether it can be believed. Pure.
//!
//! gitleaks exits with 0 when git failed, and when it skipped its input. So nothing but the whole
//! of exit code, log and report counts, and the log has to say that as much was scanned as it was
//! given.

use serde_json::Value;

/// The code that we ask for when something is found: one that no failure has.
pub(crate) const FOUND: i32 = 42;

/// One finding as gitleaks has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) rule: String,
    pub(crate) secret: String,
    pub(crate) line: usize,
    /// Only a scan of the history has these two.
    pub(crate) file: String,
    pub(crate) commit: String,
}

/// Reads what one run of gitleaks said; `delivered` is how many bytes it was given, if known.
///
/// # Errors
/// If it can't be believed that everything was scanned; with the reason.
pub(crate) fn findings(
    code: Option<i32>,
    report: &[u8],
    log: &str,
    delivered: Option<u64>,
) -> Result<Vec<Raw>, String> {
    let code = code.ok_or("gitleaks was killed")?;
    let mut scanned = None;
    for line in log.lines().filter(|line| !line.trim().is_empty()) {
        let message = message(line)?;
        scanned = scanned.or_else(|| bytes(message));
    }
    if code != 0 && code != FOUND {
        return Err(format!("gitleaks failed with exit code {code}"));
    }
    match (scanned, delivered) {
        (None, _) => return Err("gitleaks did not say how much it scanned".to_owned()),
        (Some(scanned), Some(delivered)) if scanned != delivered => {
            return Err(format!("gitleaks scanned {scanned} bytes of {delivered}"));
        }
        _ => {}
    }
    let report: Value = serde_json::from_slice(report)
        .map_err(|_| "the report of gitleaks is no JSON".to_owned())?;
    let list = report.as_array().ok_or("the report of gitleaks is no list")?;
    let found = list.iter().map(raw).collect::<Option<Vec<Raw>>>();
    let found = found.ok_or("a finding of gitleaks lacks a field")?;
    if found.is_empty() == (code == FOUND) {
        return Err("the exit code of gitleaks does not agree with its report".to_owned());
    }
    Ok(found)
}

/// The text of a log line: `4:05AM INF scanned ~72 bytes (72 bytes) in 138ms`. Whatever is neither
/// plain information nor the count of leaks may mean that something was left out.
fn message(line: &str) -> Result<&str, String> {
    let mut words = line.splitn(3, ' ');
    let (_, level, message) = (words.next(), words.next(), words.next().unwrap_or_default());
    let is_fine = match level {
        Some("INF" | "DBG" | "TRC") => true,
        Some("WRN") => message.starts_with("leaks found: "),
        _ => false,
    };
    if is_fine {
        return Ok(message);
    }
    let quote: String = line.chars().filter(|letter| !letter.is_control()).take(200).collect();
    Err(format!("gitleaks complained: {quote}"))
}

fn bytes(message: &str) -> Option<u64> {
    let rest = message.strip_prefix("scanned ~")?;
    rest.split_once(" bytes")?.0.parse().ok()
}

fn raw(finding: &Value) -> Option<Raw> {
    let text = |key: &str| Some(finding.get(key)?.as_str()?.to_owned());
    Some(Raw {
        rule: text("RuleID")?,
        secret: text("Secret")?,
        line: usize::try_from(finding.get("StartLine")?.as_u64()?).ok()?,
        file: text("File")?,
        commit: text("Commit")?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLEAN: &str =
        "4:05AM INF scanned ~72 bytes (72 bytes) in 138ms\n4:05AM INF no leaks found\n";
    const LEAK: &str =
        "4:05AM INF scanned ~72 bytes (72 bytes) in 138ms\n4:05AM WRN leaks found: 1\n";
    const REPORT: &[u8] = br#"[{"RuleID":"aws-access-token","StartLine":3,"Secret":"AKIA",
        "File":"","Commit":"","Tags":[]}]"#;

    #[test]
    fn clean_is_clean_and_found_is_found() {
        assert_eq!(findings(Some(0), b"[]\n", CLEAN, Some(72)), Ok(Vec::new()));
        let found = findings(Some(FOUND), REPORT, LEAK, Some(72)).unwrap();
        assert_eq!((found[0].rule.as_str(), found[0].line), ("aws-access-token", 3));
    }

    #[test]
    fn whatever_is_odd_is_a_failure() {
        let git = "4:11AM ERR [git] fatal: ambiguous argument\n4:11AM INF 0 commits scanned.\n";
        for (code, report, log, delivered) in [
            (None, &b"[]"[..], CLEAN.to_owned(), 72),
            (Some(1), b"[]", CLEAN.to_owned(), 72),
            (Some(126), b"", String::new(), 72),
            (Some(0), b"[]", format!("{git}{CLEAN}"), 72),
            (Some(0), b"[]", format!("{CLEAN}4:05AM WRN skipping file\n"), 72),
            (Some(0), b"[]", format!("panic: x\n{CLEAN}"), 72),
            (Some(0), b"[]", String::new(), 72),
            (Some(0), b"[]", CLEAN.to_owned(), 73),
            (Some(0), b"", CLEAN.to_owned(), 72),
            (Some(0), b"{}", CLEAN.to_owned(), 72),
            (Some(0), b"[{}]", CLEAN.to_owned(), 72),
            (Some(0), REPORT, CLEAN.to_owned(), 72),
            (Some(FOUND), b"[]", LEAK.to_owned(), 72),
        ] {
            let result = findings(code, report, &log, Some(delivered));
            assert!(result.is_err(), "{code:?} {log}: {result:?}");
        }
    }

    proptest! {
        #[test]
        fn no_log_with_an_error_passes(before in "[ -~]{0,20}", after in "\\PC{0,20}") {
            let log = format!("{CLEAN}{before}\n4:05AM ERR {after}\n");
            prop_assert!(findings(Some(0), b"[]", &log, Some(72)).is_err());
        }

        #[test]
        fn no_report_is_too_much_for_it(report in "\\PC{0,80}") {
            let _ = findings(Some(FOUND), report.as_bytes(), LEAK, None);
        }
    }
}
