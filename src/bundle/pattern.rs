//! Name patterns: `*` matches any characters, all other characters match themselves.

/// Whether `name` matches `pattern`.
pub fn matches(pattern: &str, name: &[u8]) -> bool {
    let mut parts = pattern.as_bytes().split(|byte| *byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&[u8]> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match memchr::memmem::find(rest, part) {
            Some(place) => rest = &rest[place + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name) in [
            ("A", "A"),
            ("*", ""),
            ("*", "A"),
            ("A_*", "A_"),
            ("A_*", "A_B"),
            ("*_X", "A_X"),
            ("A*C*E", "ABCDE"),
        ] {
            assert!(matches(pattern, name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in
            [("A", "AB"), ("A", ""), ("A_*", "A"), ("A*A", "A"), ("A*C*E", "ACB"), ("", "A")]
        {
            assert!(!matches(pattern, name.as_bytes()), "{pattern} {name}");
        }
    }
}
