//! Free text of an agent: bounded when it comes in, made harmless when it goes to a terminal.
//!
//! A terminal obeys escape sequences (ECMA-48), so that text could repaint what the operator
//! decides upon; Unicode's bidirectional controls can do as much (CVE-2021-42574).

use serde::{Deserialize, Serialize};

/// A text of at most so many bytes that is not blank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BoundedText<const MAX: usize>(String);

/// Why something is wanted.
pub type Justification = BoundedText<2000>;

/// A change to a Dockerfile.
pub type DockerfileChange = BoundedText<16384>;

impl<const MAX: usize> BoundedText<MAX> {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> From<BoundedText<MAX>> for String {
    fn from(text: BoundedText<MAX>) -> Self {
        text.0
    }
}

impl<const MAX: usize> TryFrom<String> for BoundedText<MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err("is empty; say something that the operator can decide upon".to_owned());
        }
        if trimmed.len() > MAX {
            return Err(format!("is {} bytes long, at most {MAX} are taken", trimmed.len()));
        }
        Ok(BoundedText(trimmed.to_owned()))
    }
}

/// The text on one line, every character visible and without power over a terminal.
pub fn one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        escape_into(character, &mut shown);
    }
    shown
}

/// The same for several lines: their ends and tabs stay.
pub fn many_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => shown.push('\n'),
            '\t' => shown.push_str("    "),
            other => escape_into(other, &mut shown),
        }
    }
    shown
}

fn escape_into(character: char, shown: &mut String) {
    if is_harmless(character) {
        shown.push(character);
    } else {
        shown.extend(character.escape_unicode());
    }
}

fn is_harmless(character: char) -> bool {
    let invisible = matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    !character.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_lose_their_power() {
        assert_eq!(one_line("a\x1b[2J\r\nb"), "a\\u{1b}[2J\\u{d}\\u{a}b");
        assert_eq!(many_lines("a\nb\tc\x1b]0;x\x07"), "a\nb    c\\u{1b}]0;x\\u{7}");
        assert_eq!(one_line("\u{9b}2J\u{202e}x"), "\\u{9b}2J\\u{202e}x");
        assert_eq!(one_line("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn texts_are_bounded() {
        type Short = BoundedText<4>;
        assert!(Short::try_from(" \n".to_owned()).unwrap_err().contains("empty"));
        assert!(Short::try_from("abcde".to_owned()).unwrap_err().contains("at most 4"));
        assert_eq!(Short::try_from(" abcd\n".to_owned()).unwrap().as_str(), "abcd");
    }

    proptest! {
        #[test]
        fn nothing_that_is_shown_can_move_the_cursor(text in any::<String>()) {
            prop_assert!(one_line(&text).chars().all(is_harmless));
            prop_assert!(many_lines(&text).chars().all(|c| c == '\n' || is_harmless(c)));
        }
    }
}
