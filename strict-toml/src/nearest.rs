//! Selects words for messages: suggestions for misspelt ones, and the start of long lists. Pure.

use strsim::osa_distance;

/// The most names in a message.
const MOST_LISTED: usize = 50;

/// The known word that differs by at most a few letters.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.replace('_', "-").to_ascii_lowercase();
    let length = word.chars().count();
    let limit = |candidate: &str| candidate.len().min(9) / 3;
    // A word of another length differs more, and may be as long as the file.
    let is_near =
        |candidate: &&&str| candidate.chars().count().abs_diff(length) <= limit(candidate);
    let near = known
        .iter()
        .filter(is_near)
        .map(|candidate| (osa_distance(&word, candidate), *candidate))
        .min()?;
    (near.0 <= limit(near.1)).then_some(near.1)
}

/// The names with `separator` between them; of very many only the first, with the number of the others.
pub fn listed(names: &[&str], separator: &str) -> String {
    match names.get(..MOST_LISTED) {
        Some(first) if names.len() > MOST_LISTED => {
            format!("{} and {} more", first.join(separator), names.len() - MOST_LISTED)
        }
        _ => names.join(separator),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_near_and_another_is_not() {
        let known = ["command", "grace", "log", "log-full"];
        assert_eq!(nearest("comand", &known), Some("command"));
        assert_eq!(nearest("LOG_FUL", &known), Some("log-full"));
        assert_eq!(nearest("logs", &known), Some("log"));
        assert_eq!(nearest("lgo", &known), Some("log"), "two letters change places");
        assert_eq!(nearest("user", &known), None);
        assert_eq!(nearest(&"g".repeat(1_000_000), &known), None);
        assert_eq!(nearest("grace", &[]), None);
    }

    #[test]
    fn a_long_list_is_cut() {
        assert_eq!(listed(&[], ", "), "");
        assert_eq!(listed(&["a", "b"], ", "), "a, b");
        assert_eq!(listed(&["a"; MOST_LISTED], "").len(), MOST_LISTED);
        let long = listed(&["a"; MOST_LISTED + 7], ", ");
        assert!(long.ends_with("a, a and 7 more"), "{long}");
    }
}
