//! What a hostile agent tries to get out with. None of it reaches the web.

use crate::world::INSIDE;

#[test]
fn the_example_has_the_inner_network_of_these_tests() {
    let example = include_str!("../../examples/sidecars/compose.yaml");
    let inside =
        example.split_once("\n  inside:\n").unwrap().1.split_once("\n  outside:").unwrap().0;
    assert_eq!(INSIDE, ["--internal", "--opt=com.docker.network.bridge.inhibit_ipv4=true"]);
    assert!(inside.contains("internal: true"), "{inside}");
    assert!(inside.contains("com.docker.network.bridge.inhibit_ipv4: \"true\""), "{inside}");
}
