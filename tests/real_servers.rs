//! Real servers under the init outside of containers, as PID 1 of a PID namespace and as some
//! process. The stories are in `server_stories`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;
mod server_stories;

use std::path::Path;

use harness::{Position, Running, positions};
use server_stories::{Beside, End, Home, Start, World};
use test_support::programs::has;

struct Outside {
    home: Home,
    running: Running,
}

impl World for Outside {
    fn home(&self) -> &Home {
        &self.home
    }

    fn program(&self) -> String {
        harness::binary()
    }

    fn beside(&self) -> Beside {
        Beside(Vec::new())
    }

    fn end(self: Box<Self>) -> End {
        let ended = self.running.end();
        End { code: ended.code(), stdout: ended.stdout, stderr: ended.stderr }
    }

    fn stop(self: Box<Self>) -> End {
        self.running.signal("TERM");
        self.end()
    }
}

fn start(position: Position, home: Home) -> Box<dyn World> {
    let mut command = harness::init(position);
    command.args(["run", "-f"]).arg(home.path("bundle.toml"));
    Box::new(Outside { running: harness::start(&mut command), home })
}

/// Tells the story in each position, if these programs are installed.
fn comes_true(programs: &[&str], story: fn(Home, Start)) {
    for program in programs {
        if !has(program) {
            return;
        }
    }
    for position in positions() {
        // A tmpfs on any Linux.
        let home = Home::new(Path::new("/dev/shm"));
        std::fs::create_dir(home.data()).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        std::fs::set_permissions(home.data(), open).unwrap();
        story(home, &|home| start(position, home));
    }
}

#[test]
fn nginx_starts_when_its_backend_is_ready() {
    comes_true(&["nginx", "curl"], server_stories::readiness_gate);
}

#[test]
fn nginx_is_restarted_and_no_client_notices() {
    comes_true(&["nginx", "curl"], server_stories::restart_under_load);
}

#[test]
fn redis_is_ready_by_tcp_and_by_systemds_notification() {
    comes_true(&["redis-server", "redis-cli"], server_stories::redis);
}

#[test]
fn s6_programs_are_ready_by_a_newline() {
    comes_true(&["s6-log", "s6-ipcserver", "s6-ipcclient"], server_stories::s6);
}

#[test]
fn postgres_starts_when_its_files_are_made() {
    if !test_support::notices::is_root() {
        return;
    }
    comes_true(&["/usr/lib/postgresql/*/bin/initdb"], server_stories::postgres);
}

#[test]
fn a_crash_loop_ends_the_bundle() {
    comes_true(&["redis-server"], server_stories::crash_loop);
}

#[test]
fn hung_servers_are_restarted() {
    comes_true(&["nginx", "redis-server", "redis-cli", "curl"], server_stories::hung_servers);
}
