//! Makes an init, then a thread, and finds that the init does not run. A test has threads before.

#![allow(clippy::unwrap_used)] // as in any test

use std::sync::mpsc::channel;

use sidecar_init::bundle::{Bundle, Service};
use sidecar_init::exit::INIT_FAILED;
use sidecar_init::init::{Init, Options};
use sidecar_init::plan::Plan;

fn main() {
    let mut bundle = Bundle::new("test");
    bundle.services.push(Service::new("true", ["true"]));
    let init = Init::new(Plan::new(bundle).unwrap(), Options::default()).unwrap();
    let (end, ended) = channel::<()>();
    let thread = std::thread::spawn(move || ended.recv());
    assert_eq!(init.run(), INIT_FAILED);
    drop(end);
    thread.join().unwrap().unwrap_err();
}
