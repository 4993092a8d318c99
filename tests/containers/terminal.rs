//! `docker run -it`, with a person at the keys.

use crate::docker::{self, is_there};
use crate::harness::Position;
use crate::harness::screen::{REPORTER, Screen};

#[test]
fn keys_and_window_reach_the_command_in_a_container() {
    if !is_there() {
        return;
    }
    let mount = format!("{}:/sidecar-init:ro", docker::binary().display());
    for init in [&[][..], &["--init"]] {
        let options = ["docker", "run", "--rm", "-it", "--network", "none", "-v", &mount];
        let command = [docker::BASE.name, "/sidecar-init", "--", "sh", "-c", REPORTER];
        let arguments = [&options, init, &command].concat();
        let mut screen = Screen::start(Position::Child, &arguments);
        screen.wait_for("ready");
        screen.keys("\x03");
        screen.wait_for("got INT");
        screen.keys("\x1c");
        screen.wait_for("got QUIT");
        screen.resize(31, 91);
        screen.wait_for("got WINCH");
        // Without an init the command would be PID 1, which Ctrl-Z does not stop.
        screen.keys("\x1a");
        screen.keys("still here\n");
        screen.wait_for("<still here>");
        screen.keys("end\n");
        screen.wait_for("<end>");
        assert_eq!(screen.code(), 4, "{init:?}");
    }
}
