//! The agent's web requests, through egress and pipelock.

use crate::world::{Setup, TOKEN, is_there};

#[test]
fn an_allowed_path_is_reached_with_a_token_that_the_agent_never_sees() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let said =
        world.curl(&["-H", "Authorization: Bearer guessed", "https://api.example.com/v1/hello"]);
    assert_eq!(said.stdout, "reached /v1/hello\n\n200", "{said:?} {:?}", world.egress_log());
    let seen = world.seen();
    assert_eq!(seen[0]["headers"]["authorization"], format!("Bearer {TOKEN}"));
    assert!(!world.agent(&["env"]).stdout.contains(TOKEN));
}
