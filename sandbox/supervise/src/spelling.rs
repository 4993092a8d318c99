//! Hosts and paths that are spelled in another way, and are the same.

/// In lower case, and without the dot of the root.
pub(crate) fn plain_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix('.').map(str::to_owned).unwrap_or(host)
}

/// Without escapes, dot segments and empty segments. What is escaped and is no UTF-8 stays.
pub(crate) fn plain_path(path: &str) -> String {
    let decoded = decoded(path).unwrap_or_else(|| path.to_owned());
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_in_directory = false;
    for segment in decoded.split('/') {
        ends_in_directory = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let end = if ends_in_directory && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

fn decoded(path: &str) -> Option<String> {
    let mut pieces = path.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_spelling_of_a_path_is_the_same_path() {
        for (spelled, plain) in [
            ("/v1/", "/v1/"),
            ("/%76%31/", "/v1/"),
            ("//v1///", "/v1/"),
            ("/a/../v1/.", "/v1/"),
            ("/../v1", "/v1"),
            ("/v1%2F", "/v1/"),
            ("/%2e%2e/v1/%2E", "/v1/"),
            ("/%", "/%"),
            ("/%ff", "/%ff"),
            ("", "/"),
            ("/..", "/"),
        ] {
            assert_eq!(plain_path(spelled), plain, "{spelled}");
        }
        assert_eq!(plain_host("API.example.com."), "api.example.com");
    }
}
