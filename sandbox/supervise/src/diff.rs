//! A unified diff of one file, with colours for a terminal.

use similar::TextDiff;

use crate::text::{fold, one_line};

/// The diff as text that `patch` understands, unless a line holds characters that are made visible.
pub fn unified(path: &str, before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let text = diff.unified_diff().context_radius(3).header(path, path).to_string();
    text.lines().map(|line| one_line(&line.replace('\t', "    ")) + "\n").collect()
}

/// The same for a terminal: in colours, and folded.
pub fn coloured(diff: &str, paint: crate::paint::Paint, width: usize) -> String {
    let colour = |line: &str, folded: &str| match line.as_bytes().first() {
        _ if line.starts_with("+++") || line.starts_with("---") => paint.bold(folded),
        Some(b'+') => paint.green(folded),
        Some(b'-') => paint.red(folded),
        Some(b'@') => paint.cyan(folded),
        _ => folded.to_owned(),
    };
    diff.lines().map(|line| colour(line, &fold(line, 0, width)) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::Paint;

    #[test]
    fn shows_what_changes_and_nothing_that_a_terminal_obeys() {
        let diff = unified("/etc/x", "a\nb\n", "a\nb\x1b[2J\nc\n");
        assert_eq!(diff, "--- /etc/x\n+++ /etc/x\n@@ -1,2 +1,3 @@\n a\n-b\n+b\\u{1b}[2J\n+c\n");
        assert_eq!(coloured(&diff, Paint::new(false), 80), diff);
        assert!(coloured(&diff, Paint::new(true), 80).contains("\x1b[32m+c\x1b[0m\n"));
        assert!(coloured(&diff, Paint::new(false), 10).contains("\n+b\\u{1b}[2\n    | J\n"));
    }
}
