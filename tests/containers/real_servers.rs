//! Real servers under the init as PID 1 of a container. The stories are in `server_stories`.

use std::path::Path;

use crate::docker::{Container, SERVERS, has};
use crate::server_stories::{self, Beside, End, Home, Start, World};

struct Inside {
    home: Home,
    container: Container,
}

impl World for Inside {
    fn home(&self) -> &Home {
        &self.home
    }

    fn program(&self) -> String {
        "/sidecar-init".to_owned()
    }

    fn beside(&self) -> Beside {
        Beside(["docker", "exec", self.container.name()].map(str::to_owned).to_vec())
    }

    fn end(self: Box<Self>) -> End {
        let code = self.container.wait();
        End { code, stdout: self.container.stdout(), stderr: self.container.stderr() }
    }

    fn stop(self: Box<Self>) -> End {
        self.container.stop();
        self.end()
    }
}

fn start(home: Home) -> Box<dyn World> {
    let mount = home.filled("DIR:DIR");
    let data = home.filled("DIR/data:mode=1777");
    let options = ["-v", &mount, "--tmpfs", &data];
    let bundle = home.filled("DIR/bundle.toml");
    let command = ["/sidecar-init", "run", "-f", &bundle];
    Box::new(Inside { container: Container::start_from(SERVERS.name, &options, &command), home })
}

fn comes_true(story: fn(Home, Start)) {
    if has(&SERVERS) {
        story(Home::new(Path::new("/tmp")), &start);
    }
}

#[test]
fn nginx_starts_when_its_backend_is_ready() {
    comes_true(server_stories::readiness_gate);
}

#[test]
fn nginx_is_restarted_and_no_client_notices() {
    comes_true(server_stories::restart_under_load);
}

#[test]
fn redis_is_ready_by_tcp_and_by_systemds_notification() {
    comes_true(server_stories::redis);
}

#[test]
fn s6_programs_are_ready_by_a_newline() {
    comes_true(server_stories::s6);
}

#[test]
fn postgres_starts_when_its_files_are_made() {
    comes_true(server_stories::postgres);
}

#[test]
fn a_crash_loop_ends_the_container() {
    comes_true(server_stories::crash_loop);
}

#[test]
fn hung_servers_are_restarted() {
    comes_true(server_stories::hung_servers);
}
