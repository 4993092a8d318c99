//! What each parser of strangers' bytes promises, whatever the bytes are. The fuzz targets hold
//! it to that without an end, and `tests/parsers.rs` in a bounded run that is always the same.

#![allow(dead_code)]

use sidecar_init::internal::Said;
use sidecar_init::internal::{http_status, parse_notification};
use sidecar_init::{bundle, protocol};

/// A bundle is whole, or every error has its place.
pub fn bundle(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match bundle::toml::parse("b.toml", text) {
        Ok(bundle) => {
            let names: Vec<&str> =
                bundle.services.iter().map(|service| service.name.as_str()).collect();
            assert!(!names.is_empty());
            for (index, service) in bundle.services.iter().enumerate() {
                assert!(!service.command.is_empty());
                assert!(!names[..index].contains(&service.name.as_str()), "two of one name");
                for other in service.after.iter().chain(&service.requires) {
                    assert!(names.contains(&other.as_str()), "{other:?} is unknown");
                }
            }
        }
        Err(errors) => {
            let errors = errors.to_string();
            assert!(!errors.is_empty());
            for line in errors.lines() {
                let mut parts = line.splitn(4, ':');
                assert_eq!(parts.next(), Some("b.toml"), "{line}");
                for number in parts.by_ref().take(2) {
                    assert!(number.parse::<usize>().is_ok_and(|number| number > 0), "{line}");
                }
                assert!(parts.next().is_some_and(|message| message.len() > 1), "{line}");
            }
        }
    }
}

/// A request is understood, or refused in one line that is fit for an answer.
pub fn control(input: &[u8]) {
    if let Err(error) = protocol::parse(input) {
        assert!(!error.is_empty() && !error.contains(char::is_control), "{error:?}");
    }
}

/// A status is fit for a terminal, and there are no more facts than lines.
pub fn notify(input: &[u8]) {
    let said = parse_notification(input);
    assert!(said.len() <= input.split(|byte| *byte == b'\n').count());
    for said in said {
        if let Said::Status(status) = said {
            assert!(status.chars().count() <= 200 && !status.contains(char::is_control));
        }
    }
}

/// Once there is a verdict, nothing that comes later changes it.
pub fn probe(input: &[u8]) {
    let whole = http_status(input);
    if let Some(Ok(status)) = whole {
        assert!(status < 1000);
    }
    // Every cut of a short answer, and some of a long one.
    let step = input.len() / 64 + 1;
    for cut in (0..input.len()).step_by(step) {
        let early = http_status(&input[..cut]);
        assert!(early.is_none() || early == whole, "{early:?} became {whole:?}");
    }
}
