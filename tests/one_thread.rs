//! A thread that comes after the init was made keeps it from running. In a process of its own, since a
//! test harness has threads.

#![allow(clippy::unwrap_used)]

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
