//! `sidecar-init health` as the image's HEALTHCHECK, by another user than root.

use crate::docker::{Container, SERVERS, binary, docker, has, text};

const IMAGE: &str = "sidecar-init-test:health";

/// The cache hangs sometimes, and is never restarted for that.
const BUNDLE: &str = r#"
[[service]]
name = "cache"
command = ["redis-server", "--save", ""]
ready = { file = "/tmp/go" }
live = { exec = ["redis-cli", "ping"], period = "100ms", timeout = "300ms", failures = 1000 }

[[service]]
name = "other"
command = ["sleep", "infinity"]
"#;

const DOCKERFILE: &str = r#"
COPY sidecar-init /usr/local/bin/
COPY bundle.toml /etc/sidecar-init/
USER 1234
HEALTHCHECK --interval=300ms --timeout=20s --retries=1 CMD ["sidecar-init", "health"]
ENTRYPOINT ["sidecar-init", "run"]
"#;

#[test]
fn docker_sees_the_bundle_become_healthy_unhealthy_and_well_again() {
    if !has(&SERVERS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(binary(), directory.path().join("sidecar-init")).unwrap();
    test_support::bundles::keep(BUNDLE);
    std::fs::write(directory.path().join("bundle.toml"), BUNDLE).unwrap();
    let dockerfile = format!("FROM {}\n{DOCKERFILE}", SERVERS.name);
    std::fs::write(directory.path().join("Dockerfile"), dockerfile).unwrap();
    let path = directory.path().to_str().unwrap();
    let built = docker(&["build", "-q", "-t", IMAGE, path]);
    assert!(built.status.success(), "{}", text(&built.stderr));

    let container = Container::start_from(IMAGE, &[], &[]);
    let mut changes = container.health();
    let mut becomes = |wanted: &str| assert_eq!(changes.next().unwrap(), wanted);
    let last_words = || {
        let log = container.inspect("(index .State.Health.Log 0).Output");
        log.trim().to_owned()
    };
    becomes("unhealthy");
    assert_eq!(last_words(), "cache: starting: /tmp/go is not there");
    assert!(container.exec(&["touch", "/tmp/go"]).is_some());
    becomes("healthy");
    assert!(container.exec(&["sidecar-init", "signal", "cache", "STOP"]).is_some());
    becomes("unhealthy");
    assert!(container.exec(&["sidecar-init", "signal", "cache", "CONT"]).is_some());
    becomes("healthy");
    assert_eq!(container.stop(), 0, "{}", container.stderr());
}
