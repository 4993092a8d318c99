//! The library as a program of one's own uses it.

#![allow(clippy::unwrap_used)]

use sidecar_init::bundle::toml;
use sidecar_init::file::Files;
use sidecar_init::init::{Init, Options};
use sidecar_init::plan::Plan;

#[test]
fn a_process_with_more_threads_is_not_taken_over() {
    // Tests have threads of their own.
    let bundle =
        toml::parse("b.toml", "[[service]]\nname = \"a\"\ncommand = [\"true\"]\n").unwrap();
    let plan = Plan::bundle(bundle, None, &mut Files::default()).unwrap();
    let error = Init::new(plan, Options::default()).unwrap_err();
    assert!(error.to_string().contains("more than one thread"), "{error}");
}
