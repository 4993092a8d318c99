//! The core by example: each test is a story of facts and the actions that must follow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod story;

use std::time::Duration;

use sidecar_init::bundle::OnExit;
use sidecar_init::exit::ExitStatus;
use sidecar_init::signal::Signal;
use sidecar_init::supervisor::{
    Action, Cause, Event, Otherwise, Policy, Rules, ServicePolicy, SignalRoute, Target,
};

use story::{NOBODY, NOTHING, Story, id};

fn policy(services: usize) -> Policy {
    Policy {
        services: vec![ServicePolicy::default(); services],
        grace: Duration::from_secs(8),
        in_file_order: true,
        ..Policy::default()
    }
}

#[test]
fn services_start_in_the_order_of_the_file_and_none_waits_for_another() {
    let mut story = Story::new(policy(3));
    assert_eq!(story.actions(), ["spawn 0", "spawn 1", "spawn 2"]);
    for number in [1, 2, 0] {
        assert_eq!(story.tell(Event::Spawned(id(number))).actions(), NOTHING);
    }
    assert_eq!(story.due_in(), None, "an idle bundle has no timer");
}

#[test]
fn not_all_of_very_many_are_on_their_way_at_once() {
    let mut story = Story::new(policy(18));
    let first: Vec<String> = (0..16).map(|number| format!("spawn {number}")).collect();
    assert_eq!(story.actions(), first);
    assert_eq!(story.tell(Event::Spawned(id(3))).actions(), ["spawn 16"]);
    assert_eq!(story.tell(Event::Spawned(id(16))).actions(), ["spawn 17"]);
}

#[test]
fn they_stop_in_reverse_and_each_is_awaited() {
    let mut story = Story::up(policy(3));
    assert_eq!(story.signal(Signal::TERM).actions(), ["SIGTERM 2"]);
    assert_eq!(story.exits(2, 0).actions(), ["SIGTERM 1"]);
    assert_eq!(story.exits(1, 0).actions(), ["SIGTERM 0"]);
    assert_eq!(story.exits(0, 0).actions(), ["terminate rest"]);
    assert_eq!(story.core.outcome(), None);
    let outcome = story.tell(Event::TreeEmpty).outcome();
    assert_eq!((outcome.cause, outcome.code), (Cause::Requested(Signal::TERM), 0));
}

#[test]
fn the_first_exit_is_the_cause_and_the_code() {
    let mut story = Story::up(policy(3));
    assert_eq!(story.exits(1, 3).actions(), ["SIGTERM 2"]);
    story.exits(0, 4).exits(2, 5).tell(Event::TreeEmpty);
    let outcome = story.outcome();
    assert_eq!((outcome.cause, outcome.code), (Cause::Exited(id(1), ExitStatus::Code(3)), 3));
}

#[test]
fn a_slow_service_holds_the_next_up_for_its_share_only() {
    let mut story = Story::up(policy(3));
    story.signal(Signal::TERM).actions();
    assert_eq!(story.at(10).continued(), [2]);
    // Three services and what is left behind: a quarter of 8 s each.
    assert_eq!(story.due_in(), Some(2000));
    assert_eq!(story.at(1999).actions(), NOTHING);
    // Somebody may have stopped the slow one meanwhile.
    assert_eq!(story.at(2000).continued(), [2]);
    assert_eq!(story.actions(), ["SIGTERM 1"]);
    // It ended at once, so the next share is larger: a half of what is left.
    assert_eq!(story.exits(1, 0).actions(), ["SIGTERM 0"]);
    assert_eq!(story.at(2010).continued(), [0]);
    assert_eq!(story.due_in(), Some(5000));
    // The late one ends; that moves nothing, for it is not awaited any more.
    assert_eq!(story.exits(2, 0).actions(), NOTHING);
    assert_eq!(story.at(5000).actions(), ["terminate rest"]);
    assert_eq!(story.due_in(), Some(8000));
    assert_eq!(story.at(8000).actions(), ["kill all"]);
    story.exits(0, 0).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().overran, [id(0)]);
}

#[test]
fn a_service_that_has_not_ended_at_once_is_continued_once() {
    let mut story = Story::up(policy(3));
    story.signal(Signal::TERM);
    story.at(4).exits(2, 0);
    assert_eq!(story.actions(), ["SIGTERM 2", "SIGTERM 1"]);
    assert_eq!(story.at(13).continued(), NOBODY);
    assert_eq!(story.due_in(), Some(14), "one has ended before");
    assert_eq!(story.at(14).continued(), [1]);
    story.actions();
    assert_eq!(story.at(1000).continued(), NOBODY);

    let mut policy = policy(1);
    policy.services[0].grace = Some(Duration::from_millis(5));
    let mut story = Story::up(policy);
    story.signal(Signal::TERM).actions();
    assert_eq!(story.due_in(), Some(5));
    assert_eq!(story.at(20).continued(), NOBODY, "KILL needs none");
    assert_eq!(story.actions(), ["kill 0"]);
    assert_eq!(story.due_in(), Some(4000), "the sweep");
}

#[test]
fn what_a_slow_service_leaves_behind_is_asked_when_it_ends() {
    let mut story = Story::up(policy(2));
    story.signal(Signal::TERM).at(2667).actions();
    assert_eq!(story.at(5334).actions(), ["terminate rest"]);
    assert_eq!(story.exits(1, 0).actions(), ["terminate rest"]);
    assert_eq!(story.at(6000).actions(), NOTHING);
    assert_eq!(story.exits(0, 0).actions(), ["terminate rest"]);
    assert!(!story.tell(Event::TreeEmpty).outcome().rest_overran);
}

#[test]
fn a_service_is_killed_when_its_own_grace_ends() {
    let mut policy = policy(2);
    policy.services[1].grace = Some(Duration::from_secs(1));
    let mut story = Story::up(policy);
    story.signal(Signal::TERM).actions();
    assert_eq!(story.at(1000).actions(), ["kill 1"]);
    let killed = Event::Exited(id(1), ExitStatus::Signal(Signal::KILL));
    assert_eq!(story.tell(killed).actions(), ["SIGTERM 0"]);
    story.exits(0, 0).tell(Event::TreeEmpty);
    assert_eq!((story.outcome().overran, story.outcome().code), (vec![id(1)], 0));
}

#[test]
fn a_second_request_kills_at_once() {
    let mut story = Story::up(policy(2));
    story.signal(Signal::TERM).actions();
    assert_eq!(story.signal(Signal::INT).actions(), ["kill all"]);
    story.exits(0, 0).exits(1, 0).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().forced, Some(Signal::INT));
    assert_eq!(story.outcome().overran, [], "nobody had the time to overrun");
}

#[test]
fn a_request_joins_a_shutdown_that_an_exit_began() {
    let mut story = Story::up(policy(2));
    story.exits(1, 3).actions();
    assert_eq!(story.signal(Signal::TERM).actions(), NOTHING);
    assert_eq!(story.signal(Signal::TERM).actions(), ["kill all"]);
    story.exits(0, 0).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().code, 3, "the cause stays");
}

#[test]
fn a_signal_to_everyone_at_once_is_a_request() {
    let killed = |signal| Event::Exited(id(0), ExitStatus::Signal(signal));
    let mut story = Story::up(policy(2));
    story.tell_all(&[killed(Signal::TERM), Event::Signaled(Signal::TERM)]);
    assert_eq!(story.actions(), ["SIGTERM 1"]);
    let outcome = story.exits(1, 0).tell(Event::TreeEmpty).outcome();
    assert_eq!((outcome.cause, outcome.code), (Cause::Requested(Signal::TERM), 0));

    for facts in [
        [killed(Signal::KILL), Event::Signaled(Signal::TERM)],
        [killed(Signal::TERM), Event::Signaled(Signal::INT)],
    ] {
        let mut story = Story::up(policy(2));
        let outcome = story.tell_all(&facts).exits(1, 0).tell(Event::TreeEmpty).outcome();
        assert!(matches!(outcome.cause, Cause::Exited(..)), "another signal: {facts:?}");
    }
    let mut story = Story::up(policy(2));
    story.tell(killed(Signal::TERM)).signal(Signal::TERM);
    let outcome = story.exits(1, 0).tell(Event::TreeEmpty).outcome();
    assert_eq!(outcome.code, 143, "one that dies first is the cause");
}

#[test]
fn what_is_left_behind_has_until_the_deadline() {
    let mut story = Story::up(policy(1));
    assert_eq!(story.exits(0, 0).actions(), ["terminate rest"]);
    assert_eq!(story.due_in(), Some(8000));
    assert_eq!(story.at(7999).actions(), NOTHING);
    assert_eq!(story.at(8000).actions(), ["kill all"]);
    assert!(story.tell(Event::TreeEmpty).outcome().rest_overran);
}

#[test]
fn what_does_not_die_of_kill_is_left_to_the_kernel() {
    let mut story = Story::up(policy(1));
    story.signal(Signal::TERM).at(8000);
    assert_eq!(story.due_in(), Some(9000));
    assert_eq!(story.core.end_at_the_latest(), story.core.deadline());
    assert_eq!(story.at(9000).outcome().overran, [id(0)]);
}

#[test]
fn a_failed_start_stops_what_runs_and_what_is_just_starting() {
    let mut story = Story::new(policy(3));
    story.tell(Event::Spawned(id(0))).actions();
    let actions = story.tell(Event::SpawnFailed(id(1), 127)).actions();
    assert_eq!(actions, ["cancel 2", "SIGTERM 2"]);
    assert_eq!(story.exits(2, 0).actions(), ["SIGTERM 0"]);
    assert_eq!(story.exits(0, 0).actions(), ["terminate rest"]);
    let outcome = story.tell(Event::TreeEmpty).outcome();
    assert_eq!((outcome.cause, outcome.code), (Cause::SpawnFailed(id(1), 127), 127));
}

#[test]
fn a_failed_start_starts_nothing_more() {
    let mut story = Story::new(policy(17));
    story.actions();
    let actions = story.tell(Event::SpawnFailed(id(0), 127)).actions();
    assert!(!actions.iter().any(|order| order.starts_with("spawn")), "{actions:?}");
}

#[test]
fn a_request_during_the_start_stops_what_runs_and_what_is_just_starting() {
    let mut story = Story::new(policy(2));
    story.tell(Event::Spawned(id(0))).actions();
    let actions = story.signal(Signal::TERM).actions();
    assert_eq!(actions, ["cancel 1", "SIGTERM 1"], "service 1 is being started");
    assert_eq!(story.tell(Event::Spawned(id(1))).actions(), NOTHING);
    assert_eq!(story.exits(1, 0).actions(), ["SIGTERM 0"]);
    story.exits(0, 0).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().code, 0);
}

#[test]
fn nothing_is_started_because_of_a_service_that_died_right_away() {
    let mut policy = policy(2);
    policy.services[1].after = vec![id(0)];
    policy.in_file_order = false;
    let mut story = Story::new(policy);
    story.actions();
    let facts = [Event::Spawned(id(0)), Event::Exited(id(0), ExitStatus::Code(1))];
    assert_eq!(story.tell_all(&facts).actions(), ["terminate rest"]);
    assert_eq!(story.tell(Event::TreeEmpty).outcome().code, 1);
}

#[test]
fn an_ignored_exit_ends_nothing_until_none_is_left() {
    let mut policy = policy(3);
    policy.services.iter_mut().for_each(|service| service.on_exit = OnExit::Ignore);
    let mut story = Story::up(policy);
    assert_eq!(story.exits(1, 0).exits(0, 5).actions(), NOTHING);
    assert_eq!(story.exits(2, 6).actions(), ["terminate rest"]);
    let outcome = story.tell(Event::TreeEmpty).outcome();
    assert_eq!(outcome.code, 5);
    assert_eq!(outcome.cause, Cause::AllExited(Some((id(0), ExitStatus::Code(5)))));
}

#[test]
fn an_ignored_exit_during_the_start_does_not_end_it() {
    let mut policy = policy(2);
    policy.services[0].on_exit = OnExit::Ignore;
    let mut story = Story::new(policy);
    story.tell(Event::Spawned(id(0))).actions();
    story.exits(0, 1).tell(Event::Spawned(id(1)));
    assert_eq!(story.actions(), NOTHING);
    assert_eq!(story.signal(Signal::TERM).actions(), ["SIGTERM 1"]);
}

#[test]
fn success_codes_end_a_bundle_with_0() {
    let mut policy = policy(1);
    policy.services[0].success_codes = vec![143];
    let mut story = Story::up(policy);
    story.tell(Event::Exited(id(0), ExitStatus::Signal(Signal::TERM))).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().code, 0);
}

fn one_command() -> Policy {
    Policy {
        services: vec![
            Rules { stop_signal: None, success_codes: Vec::new(), ..Rules::default() }.into(),
        ],
        otherwise: Otherwise::Forward(id(0), Target::Process),
        code_of_first: true,
        ..policy(1)
    }
}

#[test]
fn one_command_keeps_its_code_even_if_its_end_was_asked_for() {
    let mut story = Story::up(one_command());
    assert_eq!(story.signal(Signal::INT).actions(), ["SIGINT 0"]);
    story.exits(0, 130).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().code, 130);
}

#[test]
fn one_command_gets_every_other_signal() {
    let mut story = Story::up(one_command());
    assert_eq!(story.signal(Signal::HUP).actions(), ["SIGHUP 0"]);
    story.signal(Signal::TERM).actions();
    assert_eq!(story.signal(Signal::HUP).actions(), ["SIGHUP 0"], "while it ends, too");
    story.exits(0, 0);
    story.actions();
    assert_eq!(story.signal(Signal::HUP).actions(), NOTHING);
}

#[test]
fn one_command_that_never_ran_ends_as_the_signal_would_have_ended_it() {
    let mut story = Story::new(one_command());
    story.signal(Signal::TERM);
    story.tell(Event::SpawnFailed(id(0), 127)).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().code, 127, "that it could not start is known better");
}

#[test]
fn signals_go_where_their_route_says() {
    let mut policy = policy(2);
    policy
        .signals
        .insert(Signal::HUP, SignalRoute::Forward(vec![id(1), id(0)], Signal::INT, Target::Group));
    policy.signals.insert(Signal::CONT, SignalRoute::Drop);
    policy.signals.insert(Signal::TSTP, SignalRoute::Shutdown(Signal::TERM));
    let mut story = Story::up(policy);
    assert_eq!(story.signal(Signal::HUP).actions(), ["SIGINT group 1", "SIGINT group 0"]);
    assert!(story.signal(Signal::CONT).actions.is_empty());
    story.signal(Signal::PIPE);
    assert!(matches!(story.actions[..], [Action::Announce(_)]), "what has no route is told");
    story.actions();
    assert_eq!(story.signal(Signal::TSTP).actions(), ["SIGTERM 1"]);
}

#[test]
fn facts_about_the_gone_change_nothing() {
    let mut story = Story::up(policy(2));
    story.exits(1, 3).exits(0, 0).actions();
    for event in [
        Event::Spawned(id(0)),
        Event::SpawnFailed(id(1), 127),
        Event::Exited(id(1), ExitStatus::Code(9)),
        Event::Exited(id(77), ExitStatus::Code(9)),
    ] {
        assert_eq!(story.tell(event).actions(), NOTHING, "{event:?}");
    }
    assert_eq!(story.tell(Event::TreeEmpty).outcome().code, 3);
}

#[test]
fn an_empty_tree_means_nothing_while_services_run() {
    let mut story = Story::up(policy(1));
    assert_eq!(story.tell(Event::TreeEmpty).core.outcome(), None);
    assert_eq!(story.signal(Signal::TERM).tell(Event::TreeEmpty).core.outcome(), None);
}

#[test]
fn no_grace_kills_right_after_asking() {
    let mut policy = policy(2);
    policy.grace = Duration::ZERO;
    let mut story = Story::up(policy);
    assert_eq!(story.signal(Signal::TERM).at(0).actions(), ["SIGTERM 1", "kill all"]);
    assert_eq!(story.at(1000).outcome().overran, [id(0), id(1)]);
}

#[test]
fn no_grace_accuses_nobody_when_nothing_is_left() {
    let mut policy = one_command();
    policy.grace = Duration::ZERO;
    let mut story = Story::up(policy.clone());
    assert_eq!(story.exits(0, 0).actions(), ["terminate rest"]);
    let outcome = story.tell(Event::TreeEmpty).outcome();
    assert_eq!((outcome.code, outcome.rest_overran), (0, false));

    let mut story = Story::up(policy);
    assert_eq!(story.exits(0, 0).at(0).actions(), ["terminate rest", "kill all"]);
    assert!(story.tell(Event::TreeEmpty).outcome().rest_overran, "something was left");
}
