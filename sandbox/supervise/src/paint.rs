//! Colours, where a person looks at a terminal and did not ask to go without.

use std::ffi::OsStr;

/// Whether to use colours.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    is_on: bool,
}

impl Paint {
    /// With colours or without.
    pub fn new(is_on: bool) -> Self {
        Paint { is_on }
    }

    /// By the rules of no-color.org: any value but an empty one turns them off.
    pub fn for_output(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        let declined = no_color.is_some_and(|value| !value.is_empty());
        Paint { is_on: is_terminal && !declined && term != Some(OsStr::new("dumb")) }
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What matters.
    pub fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    /// What goes away or went wrong.
    pub fn red(self, text: &str) -> String {
        self.code("31", text)
    }

    /// What is new or good.
    pub fn green(self, text: &str) -> String {
        self.code("32", text)
    }

    /// What to look at.
    pub fn yellow(self, text: &str) -> String {
        self.code("33", text)
    }

    /// Where one is.
    pub fn cyan(self, text: &str) -> String {
        self.code("36", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_only() {
        let colours = |terminal, no_color: Option<&str>, term: Option<&str>| {
            Paint::for_output(terminal, no_color.map(OsStr::new), term.map(OsStr::new)).is_on
        };
        assert!(colours(true, None, Some("xterm")));
        assert!(colours(true, Some(""), None));
        assert!(!colours(true, Some("1"), None));
        assert!(!colours(false, None, None));
        assert!(!colours(true, None, Some("dumb")));
    }
}
