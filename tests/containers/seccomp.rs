//! Kernels and profiles that refuse what the init would like to have.

use std::fmt::Write;

use crate::docker::{Container, is_there};

const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

/// A profile that allows everything but these calls.
fn profile(calls: &[&str], errno: u32) -> tempfile::NamedTempFile {
    let mut names = String::new();
    for call in calls {
        let _ = write!(names, "{}\"{call}\"", if names.is_empty() { "" } else { "," });
    }
    let text = format!(
        "{{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{{\"names\":[{names}],\
         \"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":{errno}}}]}}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn each_missing_call_is_made_up_for() {
    if !is_there() {
        return;
    }
    let calls: [&[&str]; 7] = [
        &["pidfd_open"],
        &["pidfd_send_signal"],
        &["waitid"],
        &["timerfd_create"],
        &["timerfd_settime"],
        &["close_range"],
        &["signalfd4"],
    ];
    for calls in calls {
        for errno in [ENOSYS, EPERM] {
            all_works(calls, errno);
        }
    }
    all_works(
        &["pidfd_open", "pidfd_send_signal", "waitid", "timerfd_create", "close_range"],
        ENOSYS,
    );
}

/// Signals, the grace, orphans and the exit code.
fn all_works(calls: &[&str], errno: u32) {
    let profile = profile(calls, errno);
    let option = format!("seccomp={}", profile.path().display());
    let script = "trap 'echo hup' HUP; trap '' TERM; (setsid sleep 1000 &); echo up; while :; do sleep 1000 & wait $!; done";
    let arguments = ["--grace", "300ms", "--", "sh", "-c", script];
    let container = Container::start(&["--security-opt", &option], &arguments);
    container.wait_for("up");
    container.kill("HUP");
    container.wait_for("hup");
    assert_eq!(container.stop(), 137, "{calls:?} {errno}: {}", container.stderr());
    assert!(
        container.record().contains("overran the grace: sh"),
        "{calls:?} {errno}: {}",
        container.record()
    );
    let told = container.stderr().matches("using SIGCHLD instead").count();
    assert_eq!(told, usize::from(calls.contains(&"pidfd_open")), "{calls:?} {errno}");
}
