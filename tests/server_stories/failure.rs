//! Servers that can't start, and servers that hang.

use super::{Home, Start, nginx, redis_command};
use test_support::{free_port, until};

/// A redis whose port is taken ends with code 1, however often it is started.
pub fn crash_loop(home: Home, start: Start) {
    let port = free_port();
    let command = redis_command(port, "");
    home.write_bundle(&format!(
        "[[service]]\nname = \"first\"\ncommand = {command}\nready = {{ tcp = \"127.0.0.1:{port}\" }}\n\
         [[service]]\nname = \"second\"\ncommand = {command}\nrequires = [\"first\"]\n\
         restart = {{ max = 3, delay = \"10ms\" }}\n"
    ));
    let end = start(home).end();
    end.is_in_time(1);
    assert_eq!(end.stderr.matches("service \"second\" started").count(), 4, "{end:#?}");
    assert!(end.stdout.contains("Address already in use"), "{end:#?}");
    end.in_order(&[
        "service \"second\" exited with code 1",
        "no more restarts",
        "service \"first\" is stopping (SIGTERM)",
        "service \"first\" exited with code 0",
    ]);
}

/// Stopped by a signal they still accept connections, since the kernel does; only those who want
/// an answer notice. Both are asked to end, continued, and started again.
pub fn hung_servers(home: Home, start: Start) {
    let (web, cache) = (free_port(), free_port());
    let web_command =
        nginx(&home, "web", web, "location = / { return 200; }", "master_process off;");
    let cache_command = redis_command(cache, "");
    let live =
        "period = \"100ms\", timeout = \"500ms\", failures = 2 }\nrestart = { delay = \"10ms\" }";
    home.write_bundle(&format!(
        "[[service]]\nname = \"web\"\ncommand = {web_command}\n\
         ready = {{ tcp = \"127.0.0.1:{web}\" }}\n\
         live = {{ http = \"http://127.0.0.1:{web}/\", {live}\n\
         [[service]]\nname = \"cache\"\ncommand = {cache_command}\n\
         ready = {{ tcp = \"127.0.0.1:{cache}\" }}\n\
         live = {{ exec = [\"redis-cli\", \"-p\", \"{cache}\", \"ping\"], {live}\n"
    ));
    let world = start(home);
    for name in ["web", "cache"] {
        world.is_ready(name);
        let before = world.status(name)["pid"].clone();
        assert!(world.init(&format!("signal {name} STOP")).is_some());
        until("another one runs", || {
            let now = world.status(name);
            (now["pid"] != before && now["state"] == "ready").then_some(())
        });
        assert_eq!(world.status(name)["restarts"], 1);
    }
    assert_eq!(world.answer(&format!("http://127.0.0.1:{web}/")), "200");
    let port = cache.to_string();
    assert_eq!(world.must_run(&["redis-cli", "-p", &port, "ping"]), "PONG\n");
    let end = world.stop();
    end.is_in_time(0);
    for name in ["web", "cache"] {
        let complaint = format!("service \"{name}\" has failed its liveness check: ");
        assert!(end.stderr.contains(&complaint), "{end:#?}");
    }
}
