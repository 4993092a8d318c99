//! How much memory a bundle needs.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::process::{Command, Stdio};

use sidecar_init::bundle::Settings;
use test_support::programs::example;
use test_support::until;

/// The most bytes of heap for one more service, all together: what the file says of it, the core's
/// decisions, the run and the process.
const FOR_A_SERVICE: usize = 700;

/// The bytes that the heap of an init has at the most, whose services all run and are then stopped.
fn heap(services: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let (file, ready) = (folder.path().join("bundle.toml"), folder.path().join("ready"));
    let mut text = String::from("[bundle]\nlog = \"inherit\"\n");
    for number in 0..services {
        let service = "command = [\"/bin/sleep\", \"1000\"]";
        writeln!(text, "[[service]]\nname = \"service-{number}\"\n{service}").unwrap();
    }
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(example("counted_heap"));
    command.arg(&file).arg(&ready).stdout(Stdio::piped()).stderr(Stdio::null());
    let init = command.spawn().unwrap();
    until("all services run", || ready.exists().then_some(()));
    let pid = rustix::process::Pid::from_child(&init);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = init.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// The most bytes for settings that no other service has.
const FOR_OWN_SETTINGS: usize = 640;

#[test]
fn what_few_services_set_takes_little_of_the_others() {
    assert!(size_of::<Settings>() <= FOR_OWN_SETTINGS, "{}", size_of::<Settings>());
}

#[test]
fn one_more_service_takes_little_memory() {
    let (few, many) = (1, 1000);
    let bytes = (heap(many) - heap(few)) / (many - few);
    assert!(bytes <= FOR_A_SERVICE, "{bytes} bytes");
}
