//! Servers that say by themselves that they are ready, in systemd's way and in that of s6.

use super::{Home, Start, redis_command};
use test_support::{free_port, until};

/// redis with tcp readiness, and one that speaks sd_notify(3). What comes after each asks it
/// once, and would fail if it came too early.
pub fn redis(home: Home, start: Start) {
    let (polled, notifying) = (free_port(), free_port());
    let polled_command = redis_command(polled, "");
    let notifying_command = redis_command(notifying, ", \"--supervised\", \"systemd\"");
    let ping = |name: &str, port: u16| {
        format!(
            "[[service]]\nname = \"ping-{name}\"\ntype = \"oneshot\"\nrequires = [\"{name}\"]\n\
             command = [\"redis-cli\", \"-p\", \"{port}\", \"ping\"]\n"
        )
    };
    home.write_bundle(
        &(format!(
            "[[service]]\nname = \"polled\"\ncommand = {polled_command}\n\
             ready = {{ tcp = \"127.0.0.1:{polled}\" }}\n\
             [[service]]\nname = \"notifying\"\ncommand = {notifying_command}\n\
             notify = \"systemd\"\n"
        ) + &ping("polled", polled)
            + &ping("notifying", notifying)),
    );
    let world = start(home);
    world.is_ready("ping-polled");
    world.is_ready("ping-notifying");
    assert_eq!(world.status("notifying")["says"], "Ready to accept connections");
    let end = world.stop();
    end.is_in_time(0);
    for line in ["[ping-polled] PONG\n", "[ping-notifying] PONG\n"] {
        assert!(end.stdout.contains(line), "{end:#?}");
    }
}

/// s6-log with its notification descriptor, and s6-ipcserver, which writes its newline to stdout
/// once its socket is bound.
pub fn s6(home: Home, start: Start) {
    let fifo = home.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    home.write_bundle(
        "[[service]]\nname = \"log\"\nnotify = \"fd:3\"\n\
         command = [\"sh\", \"-c\", \"exec s6-log -d 3 DIR/log <>DIR/fifo\"]\n\
         [[service]]\nname = \"writer\"\ntype = \"oneshot\"\nrequires = [\"log\"]\n\
         command = [\"sh\", \"-c\", \"test -d DIR/log && echo hello >DIR/fifo\"]\n\
         [[service]]\nname = \"echo\"\nnotify = \"fd:3\"\n\
         command = [\"sh\", \"-c\", \"exec s6-ipcserver -1 DIR/echo.sock cat >&3 3>&-\"]\n\
         [[service]]\nname = \"asker\"\ntype = \"oneshot\"\nrequires = [\"echo\"]\n\
         command = [\"s6-ipcclient\", \"DIR/echo.sock\", \"sh\", \"-c\", \
         \"echo question >&7; read answer <&6; echo $answer\"]\n",
    );
    let world = start(home);
    world.is_ready("writer");
    world.is_ready("asker");
    let current = world.home().path("log/current");
    until("the line is in the log", || {
        std::fs::read_to_string(&current).is_ok_and(|text| text == "hello\n").then_some(())
    });
    let end = world.stop();
    end.is_in_time(0);
    assert!(end.stdout.contains("[asker] question\n"), "{end:#?}");
}
