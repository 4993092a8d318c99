//! Free text of an agent: bounded when it comes in, made harmless when it goes to a terminal.
//!
//! A terminal obeys escape sequences (ECMA-48), so that text could repaint what the operator
//! decides upon; Unicode's bidirectional controls can do as much (CVE-2021-42574). And a terminal
//! wraps a long line, of which the rest would stand where our own words do.

use serde::{Deserialize, Serialize};
use unicode_width::UnicodeWidthChar;
use visible::is_visible;

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

/// A line that has been made harmless, in rows no wider than `width`. The first row begins after
/// `used` columns of somebody else's; each other one begins with the bar.
pub fn fold(line: &str, used: usize, width: usize) -> String {
    let mut folded = String::with_capacity(line.len());
    let (mut column, mut row_begins) = (used, used);
    for character in line.chars() {
        let columns = columns(character);
        // A row of one character at least, however narrow the terminal is.
        if column + columns > width && column > row_begins {
            folded.push('\n');
            folded.push_str(BAR);
            (column, row_begins) = (BAR.len(), BAR.len());
        }
        folded.push(character);
        column += columns;
    }
    folded
}

/// What stands before each line of an agent's text, and before each row that one is folded into.
pub const BAR: &str = "    | ";

/// A line that has been made harmless, cut off where it is wider than so many columns.
pub fn cut(line: &str, width: usize) -> String {
    if line.chars().map(columns).sum::<usize>() <= width {
        return line.to_owned();
    }
    let mut column = columns('…');
    let fits = |character: &char| {
        column += columns(*character);
        column <= width
    };
    line.chars().take_while(fits).chain(['…']).collect()
}

/// As many as any terminal may take: those of East Asia take two for an ambiguous character, and
/// simple ones a column for a combining one.
fn columns(character: char) -> usize {
    character.width_cjk().unwrap_or(1).max(1)
}

fn escape_into(character: char, shown: &mut String) {
    if is_visible(character) {
        shown.push(character);
    } else {
        shown.extend(character.escape_unicode());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_lose_their_power() {
        assert_eq!(one_line("a\x1b[2J\r\nb"), "a\\u{1b}[2J\\u{d}\\u{a}b");
        assert_eq!(many_lines("a\nb\tc\x1b]0;x\x07"), "a\nb    c\\u{1b}]0;x\\u{7}");
        assert_eq!(one_line("\u{9b}2J\u{202e}\u{3164}x"), "\\u{9b}2J\\u{202e}\\u{3164}x");
        assert_eq!(one_line("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn texts_are_bounded() {
        type Short = BoundedText<4>;
        assert!(Short::try_from(" \n".to_owned()).unwrap_err().contains("empty"));
        assert!(Short::try_from("abcde".to_owned()).unwrap_err().contains("at most 4"));
        assert_eq!(Short::try_from(" abcd\n".to_owned()).unwrap().as_str(), "abcd");
    }

    #[test]
    fn rows_are_no_wider_than_the_terminal() {
        assert_eq!(fold("abcdef", 4, 8), "abcd\n    | ef");
        assert_eq!(fold("abcdef", 2, 8), "abcdef");
        // Two columns each.
        assert_eq!(fold("世界世", 4, 8), "世界\n    | 世");
        assert_eq!(fold("a世", 7, 8), "a\n    | 世");
        assert_eq!(fold("ab", 9, 4), "a\n    | b");
        assert_eq!(cut("世界", 4), "世界");
        assert_eq!(cut("世界界", 5), "世…");
    }

    proptest! {
        #[test]
        fn every_row_but_the_first_is_behind_the_bar(text in any::<String>(), width in 8..100usize) {
            let folded = fold(&one_line(&text), BAR.len(), width);
            let mut rows = folded.split('\n');
            let mut joined = rows.next().unwrap().to_owned();
            prop_assert!(joined.chars().map(columns).sum::<usize>() + BAR.len() <= width);
            for row in rows {
                prop_assert!(row.starts_with(BAR));
                prop_assert!(row.chars().map(columns).sum::<usize>() <= width);
                joined.push_str(&row[BAR.len()..]);
            }
            prop_assert_eq!(joined, one_line(&text));
        }

        #[test]
        fn nothing_that_is_shown_can_move_the_cursor(text in any::<String>()) {
            prop_assert!(one_line(&text).chars().all(is_visible));
            prop_assert!(many_lines(&text).chars().all(|c| c == '\n' || is_visible(c)));
        }
    }
}
