//! What somebody may have meant who has misspelt a word. Pure.

/// The known word that is at most a few letters away.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let simple = |word: &str| word.replace('_', "-").to_ascii_lowercase();
    let near =
        known.iter().map(|candidate| (distance(&simple(word), candidate), *candidate)).min()?;
    (near.0 <= near.1.len().min(9) / 3).then_some(near.1)
}

/// How many letters have to be added, left out or replaced (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, b) in right.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
