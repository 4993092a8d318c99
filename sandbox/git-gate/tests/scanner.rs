//! A scanner that is missing, broken, slow or careless lets nothing through.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::{Settings, World};

/// With this script in the place of gitleaks.
fn world(script: &str, gate: &str) -> Option<World> {
    World::with(&Settings { gate, gitleaks: Some(script), ..Settings::default() })
}

/// Pushes something harmless with this script in the place of gitleaks; what the client reads.
fn pushed_with(script: &str, gate: &str) -> Option<String> {
    let world = world(script, gate)?;
    let before = world.refs(&world.upstream());
    let client = world.client("client");
    client.commit("a", "1\n");
    let said = client.refused(&["origin", "main"]);
    assert!(said.contains("upstream has received nothing"), "{said}");
    assert_eq!(world.refs(&world.upstream()), before);
    world.gate.wait_for("push-failed");
    Some(said)
}

fn expect(script: &str, reason: &str) {
    if let Some(said) = pushed_with(script, "") {
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn that_is_gone() {
    // The gate has seen it at its start.
    expect("if [ $1 = version ]; then rm \"$0\"; fi", "gitleaks-stand-in can't be run");
}

#[test]
fn that_crashes() {
    expect("[ $1 = version ] && exit; kill -SEGV $$", "refused: ");
}

#[test]
fn that_crashes_on_the_history_only() {
    expect("[ $1 = git ] && kill -KILL $$; exec REAL \"$@\"", "gitleaks was killed");
}

#[test]
fn that_fails() {
    expect("[ $1 = version ] && exit; cat > /dev/null; exit 1", "gitleaks failed with exit code 1");
}

#[test]
fn that_says_nothing() {
    let script = "[ $1 = version ] && exit; cat > /dev/null; echo '[]'";
    expect(script, "gitleaks did not say how much it scanned");
}

#[test]
fn that_complains_and_succeeds() {
    let script = "[ $1 = git ] && echo '4:05AM ERR [git] fatal: bad object' >&2; exec REAL \"$@\"";
    expect(script, "gitleaks complained: 4:05AM ERR [git] fatal: bad object");
}

#[test]
fn that_reads_only_a_part() {
    expect(
        "[ $1 = stdin ] || exec REAL \"$@\"; head -c 50 | REAL \"$@\"",
        "gitleaks scanned 50 bytes of",
    );
}

#[test]
fn that_stops_reading() {
    let script = "[ $1 = stdin ] || exec REAL \"$@\"; exec 0<&-; echo x | REAL \"$@\"";
    let Some(world) = world(script, "max-file-size = \"1MiB\"") else { return };
    let client = world.client("client");
    client.commit("a", "x".repeat(300_000));
    let said = client.refused(&["origin", "main"]);
    assert!(said.contains("not everything could be scanned"), "{said}");
}

#[test]
fn that_never_ends() {
    let script = "[ $1 = version ] && exit; exec sleep 1000";
    if let Some(said) = pushed_with(script, "push-timeout = \"1s\"") {
        assert!(said.contains("did not end in time"), "{said}");
    }
}

#[test]
fn that_takes_long_is_waited_for_and_the_client_hears_of_it() {
    let script = "[ $1 = stdin ] && sleep 6; exec REAL \"$@\"";
    let Some(world) = world(script, "idle-timeout = \"8s\"") else { return };
    let client = world.client("client");
    client.commit("a", "1\n");
    let said = client.push(&["origin", "main"]);
    assert!(said.contains("git-gate: still scanning, 3 of 3 objects"), "{said}");
}

/// git's own signs of life come every five seconds, unless it is told otherwise.
#[test]
fn that_takes_longer_than_a_client_may_be_silent() {
    let script = "[ $1 = stdin ] && sleep 4; exec REAL \"$@\"";
    let Some(world) = world(script, "idle-timeout = \"3s\"") else { return };
    let client = world.client("client");
    client.commit("a", "1\n");
    client.push(&["origin", "main"]);
    assert!(world.refs(&world.upstream()).contains(&client.head()));
}
