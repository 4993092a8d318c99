//! How git-http-backend(1) is asked, and how its answer begins (RFC 3875). Pure.

use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};

use super::Shared;
use crate::plan::Plan;

/// The header of an answer is not longer.
pub(super) const LONGEST_HEADER: usize = 16 << 10;

/// The call of git-http-backend for this request.
pub(super) fn plan(shared: &Shared, request: &Parts) -> Plan {
    let gate = &shared.config.gate;
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let mut plan = Plan::new(shared.programs.join("git-http-backend"), &gate.root)
        .environment(&shared.environment)
        .environment(&shared.filtered)
        .variable("GIT_PROJECT_ROOT", &gate.root)
        .variable("GIT_HTTP_EXPORT_ALL", "1")
        .variable("REQUEST_METHOD", request.method.as_str())
        .variable("PATH_INFO", request.uri.path())
        .variable("QUERY_STRING", request.uri.query().unwrap_or_default())
        .variable("SERVER_PROTOCOL", "HTTP/1.1");
    for (name, field) in [
        ("CONTENT_TYPE", CONTENT_TYPE.as_str()),
        ("CONTENT_LENGTH", CONTENT_LENGTH.as_str()),
        ("HTTP_CONTENT_ENCODING", CONTENT_ENCODING.as_str()),
        ("HTTP_GIT_PROTOCOL", "git-protocol"),
    ] {
        if let Some(value) = header(field) {
            plan = plan.variable(name, value);
        }
    }
    plan
}

/// The begin of the answer: its status, its fields, and how many bytes that was. `None`: there is
/// more to come.
pub(super) fn head(bytes: &[u8]) -> Option<Result<(StatusCode, HeaderMap, usize), &'static str>> {
    let mut at = 0;
    let mut status = StatusCode::OK;
    let mut fields = HeaderMap::new();
    loop {
        let Some(length) = bytes[at..].iter().position(|byte| *byte == b'\n') else {
            return (bytes.len() > LONGEST_HEADER).then_some(Err("its header is too long"));
        };
        let line = bytes[at..at + length].trim_ascii_end();
        at += length + 1;
        if line.is_empty() {
            return Some(Ok((status, fields, at)));
        }
        let Some((name, value)) = field(line) else { return Some(Err("its header is broken")) };
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            let Some(code) = code else { return Some(Err("its status is broken")) };
            status = code;
            continue;
        }
        let (Ok(name), Ok(value)) = (
            hyper::header::HeaderName::try_from(name),
            hyper::header::HeaderValue::from_str(value),
        ) else {
            return Some(Err("its header is broken"));
        };
        fields.append(name, value);
    }
}

fn field(line: &[u8]) -> Option<(&str, &str)> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
    Some((name, value.trim()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_answer_begins_with_fields() {
        let answer = b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\nbody";
        let (status, fields, length) = head(answer).unwrap().unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(fields["content-type"], "text/plain");
        assert_eq!(&answer[length..], b"body");
        assert!(head(b"Expires: x\r\nCon").is_none());
        assert!(head(b"Broken\r\n\r\n").unwrap().is_err());
        assert!(head(b"Status: x\r\n\r\n").unwrap().is_err());
        assert!(head(&vec![b'x'; LONGEST_HEADER + 1]).unwrap().is_err());
    }

    proptest! {
        #[test]
        fn no_answer_is_too_much_for_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = head(&bytes);
        }
    }
}
