//! PostgreSQL, whose files are made by a oneshot before it.

use super::{Home, Start};

/// As its own user, since it refuses to run as root, and with the fast shutdown that INT asks
/// for: TERM would wait for every client.
pub fn postgres(home: Home, start: Start) {
    // Debian keeps its programs outside of PATH; of several versions the last will do.
    let command = |command: &str| {
        format!(
            "command = [\"sh\", \"-c\", \"for bin in /usr/lib/postgresql/*/bin; do :; done; \
             exec $bin/{command}\"]\nuser = \"postgres\"\nworking-directory = \"/\"\n"
        )
    };
    let ask = "psql -h DIR/data -d postgres -Atc 'SELECT 6 * 7'";
    home.write_bundle(
        &("[[service]]\nname = \"initdb\"\ntype = \"oneshot\"\n".to_owned()
            + &command("initdb -D DIR/data/files --auth trust --no-sync")
            + "[[service]]\nname = \"postgres\"\nrequires = [\"initdb\"]\nstop-signal = \"INT\"\n\
               ready = { exec = [\"sh\", \"-c\", \"pg_isready -q -h DIR/data\"] }\n"
            + &command("postgres -D DIR/data/files -k DIR/data -c listen_addresses= -c fsync=off")
            + "[[service]]\nname = \"question\"\ntype = \"oneshot\"\nrequires = [\"postgres\"]\n"
            + &command(ask)),
    );
    let world = start(home);
    world.is_ready("question");
    let owner = world.must_run(&["stat", "-c", "%U", &world.home().filled("DIR/data/files")]);
    assert_eq!(owner.trim(), "postgres");
    let files = world.must_run(&["stat", "-f", "-c", "%T", &world.home().filled("DIR/data")]);
    assert_eq!(files.trim(), "tmpfs");

    let end = world.stop();
    end.is_in_time(0);
    assert!(end.stdout.contains("[question] 42\n"), "{end:#?}");
    assert!(end.stderr.contains("received fast shutdown request"), "{end:#?}");
    assert!(end.stderr.contains("database system is shut down"), "{end:#?}");
    end.in_order(&[
        "service \"initdb\" exited with code 0",
        "service \"postgres\" started",
        "service \"question\" exited with code 0",
        "service \"postgres\" is stopping (SIGINT)",
        "service \"postgres\" exited with code 0",
    ]);
}
