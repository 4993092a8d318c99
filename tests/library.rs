//! The library as a program of one's own uses it.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sidecar_init::bundle::{Bundle, Service};
use sidecar_init::client::{Client, ErrorKind};
use sidecar_init::init::{Init, Options};
use sidecar_init::plan::Plan;
use sidecar_init::protocol::Goal;
use sidecar_init::signal::Signal;
use test_support::programs::example;
use test_support::until;

/// A process that is killed if the test fails.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn entrypoint(directory: &Path) -> (Child, Client) {
    let socket = directory.join("socket");
    // What the program was handed is one more descriptor that no service is to have.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 7>handed-over"]).arg(example("entrypoint"));
    command.arg(&socket).arg(directory.join("journal")).current_dir(directory);
    let child = Child(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let client = Client::at(socket);
    until("the init listens", || {
        let is_missing = client.status().is_err_and(|error| error.kind() == ErrorKind::NoInit);
        (!is_missing).then_some(())
    });
    (child, client)
}

#[test]
fn a_process_with_more_threads_is_not_taken_over() {
    // Tests have threads of their own.
    let mut bundle = Bundle::new("test");
    bundle.services.push(Service::new("true", ["true"]));
    let error = Init::new(Plan::new(bundle).unwrap(), Options::default()).unwrap_err();
    assert!(error.to_string().contains("more than one thread"), "{error}");
}

/// In a process of its own, which has no thread before.
#[test]
fn a_thread_that_comes_after_the_init_was_made_keeps_it_from_running() {
    let output = Command::new(example("late_thread")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_program_with_tokio_drives_an_entrypoint_of_ones_own() {
    let directory = tempfile::tempdir().unwrap();
    let (mut init, client) = entrypoint(directory.path());
    client.wait("web", Goal::Ready, None).unwrap();
    let output =
        Command::new(example("drive")).arg(directory.path().join("socket")).arg("web").output();
    let output = output.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let expected =
        "web: stopping\nweb: exited\nweb: started\nweb: ready\ncache is ready\nweb is ready\n";
    assert_eq!(printed, expected, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    assert_eq!(init.0.wait().unwrap().code(), Some(7));
    let journal = std::fs::read_to_string(directory.path().join("journal")).unwrap();
    assert_eq!(journal, "ended with 7\n", "the program's own file stays open");
}

#[test]
fn a_program_with_tokio_ends_when_it_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (mut init, client) = entrypoint(directory.path());
    client.wait("web", Goal::Ready, None).unwrap();
    let output =
        Command::new(example("drive")).arg(directory.path().join("socket")).arg("nobody").output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("there is no service"), "{said}");
    assert_eq!(init.0.wait().unwrap().code(), Some(7));
}

#[test]
fn a_client_is_told_what_it_asks_and_why_it_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (mut init, client) = entrypoint(directory.path());
    let mut events = client.events().unwrap();
    client.wait("web", Goal::Ready, Some(Duration::from_secs(60))).unwrap();
    let mut log = client.follow("web").unwrap();
    let mut seen = String::new();
    while !seen.contains("listed") {
        seen.push_str(&log.next().unwrap().unwrap());
    }
    assert!(
        !seen.contains("journal") && !seen.contains("handed-over"),
        "services inherit nothing: {seen}"
    );

    let refused = client.stop(["wbe"], None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert_eq!(refused.to_string(), "there is no service \"wbe\"; there are cache, web");
    let late = client.wait("web", Goal::Exited, Some(Duration::ZERO)).unwrap_err();
    assert_eq!(
        (late.kind(), &*late.to_string()),
        (ErrorKind::TimedOut, "not in time: web is ready")
    );

    client.signal(["cache"], Signal::TERM).unwrap();
    assert_eq!(init.0.wait().unwrap().code(), Some(128 + 15));
    assert!(events.by_ref().all(|event| event.is_ok()), "the stream ends with the init");
    assert!(log.all(|text| text.is_ok()));
    assert_eq!(client.health().unwrap_err().kind(), ErrorKind::NoInit);
}
