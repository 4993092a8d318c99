//! The core by example: order, readiness, restarts and requests of an operator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod story;

use std::time::Duration;

use sidecar_init::bundle::{OnExit, RestartPolicy, RestartWhen, ServiceType, WhenRequiredExits};
use sidecar_init::exit::{CHECK_FAILED, ExitStatus};
use sidecar_init::signal::Signal;
use sidecar_init::supervisor::{
    Cause, Changes, End, Event, Policy, ServiceId, ServicePolicy, SignalRoute, State,
};

use story::{NOTHING, Story, id};

/// Services in the order of a graph: each with those that it comes after.
fn graph(after: &[&[usize]]) -> Policy {
    let service = |after: &&[usize]| ServicePolicy {
        after: after.iter().map(|number| id(*number)).collect(),
        ..ServicePolicy::default()
    };
    Policy {
        services: after.iter().map(service).collect(),
        grace: Duration::from_secs(8),
        ..Policy::default()
    }
}

/// The same, where each also requires those.
fn requiring(after: &[&[usize]], when: WhenRequiredExits) -> Policy {
    let mut policy = graph(after);
    for service in &mut policy.services {
        service.requires = service.after.clone();
        service.when_required_exits = when;
    }
    policy
}

/// Two instances of one service, and one service that requires them by their common name.
fn instances(when: WhenRequiredExits) -> Policy {
    let mut policy = requiring(&[&[], &[], &[0]], when);
    policy.services[1].leader = Some(id(0));
    policy
}

fn restarts(when: RestartWhen) -> RestartPolicy {
    RestartPolicy {
        when,
        max: 2,
        within: Duration::from_secs(60),
        delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(30),
    }
}

#[test]
fn who_names_instances_waits_for_all_of_them_and_goes_with_any() {
    let mut story = Story::new(instances(WhenRequiredExits::Stop));
    assert_eq!(story.actions(), ["spawn 0", "spawn 1"]);
    assert_eq!(story.tell(Event::Spawned(id(0))).actions(), NOTHING);
    assert_eq!(story.tell(Event::Spawned(id(1))).actions(), ["spawn 2"]);
    assert_eq!(story.tell(Event::Spawned(id(2))).actions(), NOTHING);
    let actions = story.tell(Event::Stop(id(1))).actions();
    assert_eq!(actions, ["SIGTERM 2"], "it needs both, and ends before");
    let actions = story.tell(Event::Exited(id(2), ExitStatus::Code(0))).actions();
    assert_eq!(actions, ["SIGTERM 1"], "the other one goes on");
    assert_eq!(story.tell(Event::Exited(id(1), ExitStatus::Code(0))).actions(), NOTHING);
    assert_eq!(story.tell(Event::Start(id(2))).actions(), ["spawn 1"], "and takes it along");
}

#[test]
fn who_requires_instances_of_which_one_has_failed_is_not_started() {
    let mut policy = instances(WhenRequiredExits::Keep);
    policy.services[0].on_exit = OnExit::Ignore;
    policy.services[1].has_readiness = true;
    let mut story = Story::new(policy);
    story.actions();
    story.tell(Event::Spawned(id(0))).actions();
    story.tell(Event::Spawned(id(1))).actions();
    story.tell(Event::Exited(id(0), ExitStatus::Code(1))).actions();
    assert_eq!(story.core.state(id(2)), State::Gone(End::Failed));
}

#[test]
fn a_long_chain_of_requirements_needs_no_deep_stack() {
    const LENGTH: usize = 10_000;
    let after: Vec<Vec<usize>> =
        (0..LENGTH).map(|number| (number.max(1) - 1..number).collect()).collect();
    let after: Vec<&[usize]> = after.iter().map(Vec::as_slice).collect();
    let mut story = Story::new(requiring(&after, WhenRequiredExits::Stop));
    assert_eq!(story.actions(), ["spawn 0"]);
    let all = |event: fn(ServiceId) -> Event| -> Vec<Event> {
        (1..LENGTH).map(|number| event(id(number))).collect()
    };
    story.tell_all(&all(Event::Stop)).tell(Event::Spawned(id(0)));
    assert_eq!(story.tell(Event::Start(id(LENGTH - 1))).actions(), ["spawn 1"]);
    for number in 1..LENGTH {
        story.tell(Event::Spawned(id(number)));
    }
    story.actions();
    let last = format!("SIGTERM {}", LENGTH - 1);
    assert_eq!(story.tell(Event::Stop(id(0))).actions()[0], last);
}

#[test]
fn a_service_waits_until_what_it_comes_after_is_ready() {
    let mut policy = graph(&[&[1], &[]]);
    policy.services[1].has_readiness = true;
    let mut story = Story::new(policy);
    assert_eq!(story.actions(), ["spawn 1"], "the file's order gives way");
    assert_eq!(story.tell(Event::Spawned(id(1))).actions(), NOTHING);
    assert_eq!(story.tell(Event::Ready(id(1))).actions(), ["spawn 0"]);
}

#[test]
fn what_is_independent_starts_and_stops_together() {
    let mut story = Story::up(graph(&[&[], &[0], &[0], &[]]));
    assert_eq!(story.signal(Signal::TERM).actions(), ["SIGTERM 3", "SIGTERM 2", "SIGTERM 1"]);
    assert_eq!(story.exits(3, 0).exits(1, 0).actions(), NOTHING);
    assert_eq!(story.exits(2, 0).actions(), ["SIGTERM 0"]);
}

#[test]
fn a_main_command_starts_whoever_was_the_last_to_be_ready() {
    for last in [0, 1] {
        let mut policy = graph(&[&[], &[], &[0, 1]]);
        policy.in_file_order = true;
        policy.services[..2].iter_mut().for_each(|service| service.has_readiness = true);
        let mut story = Story::new(policy);
        story.tell(Event::Spawned(id(0))).tell(Event::Spawned(id(1)));
        assert_eq!(story.tell(Event::Ready(id(1 - last))).actions(), ["spawn 0", "spawn 1"]);
        assert_eq!(story.tell(Event::Ready(id(last))).actions(), ["spawn 2"], "{last}");
        story.tell(Event::Spawned(id(2)));
        assert_eq!(story.signal(Signal::TERM).actions(), ["SIGTERM 2"]);
        assert_eq!(story.exits(2, 0).actions(), ["SIGTERM 1"], "in the file's order");
    }
}

#[test]
fn a_slow_dependent_holds_up_for_its_share_only() {
    let mut story = Story::up(graph(&[&[], &[0]]));
    story.signal(Signal::TERM).actions();
    // Two stages and the strays: a third of 8 s.
    assert_eq!(story.at(2666).actions(), NOTHING);
    assert_eq!(story.at(2667).actions(), ["SIGTERM 0"]);
}

#[test]
fn a_oneshot_is_ready_when_it_has_succeeded() {
    let mut policy = graph(&[&[], &[0]]);
    policy.services[0].kind = ServiceType::Oneshot;
    let mut story = Story::new(policy);
    assert_eq!(story.actions(), ["spawn 0"]);
    assert_eq!(story.tell(Event::Spawned(id(0))).actions(), NOTHING);
    assert_eq!(story.exits(0, 0).actions(), ["spawn 1"]);
    story.tell(Event::Spawned(id(1)));
    assert_eq!(story.signal(Signal::TERM).actions(), ["SIGTERM 1"]);
}

#[test]
fn a_oneshot_that_fails_ends_the_start_with_its_code() {
    let mut policy = graph(&[&[], &[0]]);
    policy.services[0].kind = ServiceType::Oneshot;
    let mut story = Story::new(policy);
    story.tell(Event::Spawned(id(0))).actions();
    assert_eq!(story.exits(0, 7).actions(), ["terminate rest"]);
    assert_eq!(story.tell(Event::TreeEmpty).outcome().code, 7);
}

#[test]
fn oneshots_alone_end_well() {
    let mut policy = graph(&[&[], &[0]]);
    policy.services.iter_mut().for_each(|service| service.kind = ServiceType::Oneshot);
    let mut story = Story::new(policy);
    story.tell(Event::Spawned(id(0))).exits(0, 0).tell(Event::Spawned(id(1))).exits(1, 0);
    let outcome = story.tell(Event::TreeEmpty).outcome();
    assert_eq!((outcome.cause, outcome.code), (Cause::AllExited(None), 0));
}

#[test]
fn what_is_not_ready_in_time_is_stopped_and_ends_the_bundle() {
    let mut policy = graph(&[&[]]);
    policy.services[0].has_readiness = true;
    policy.services[0].start_timeout = Some(Duration::from_secs(5));
    let mut story = Story::new(policy);
    story.tell(Event::Spawned(id(0))).actions();
    assert_eq!(story.due_in(), Some(5000));
    assert_eq!(story.at(5000).actions(), NOTHING, "it may still be just about to be");
    assert_eq!(story.due_in(), Some(6000));
    assert_eq!(story.at(6000).actions(), ["SIGTERM 0"]);
    story.tell(Event::Ready(id(0)));
    assert_eq!(story.at(13_999).actions(), NOTHING);
    assert_eq!(story.at(14_000).actions(), ["kill 0"], "it has the bundle's grace");
    story.exits(0, 0).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().cause, Cause::Unready(id(0)));
    assert_eq!(story.outcome().code, CHECK_FAILED);
}

#[test]
fn one_that_asks_for_more_time_gets_it() {
    let mut policy = graph(&[&[]]);
    policy.services[0].has_readiness = true;
    policy.services[0].start_timeout = Some(Duration::from_secs(5));
    let mut story = Story::new(policy);
    story.tell(Event::Spawned(id(0))).at(4000);
    story.tell(Event::Extended(id(0), Duration::from_secs(3)));
    assert_eq!(story.due_in(), Some(7000));
    story.tell(Event::Ready(id(0)));
    assert_eq!(story.due_in(), None);
}

#[test]
fn a_gap_is_no_time_in_which_to_become_ready() {
    let mut policy = graph(&[&[]]);
    policy.services[0].has_readiness = true;
    policy.services[0].start_timeout = Some(Duration::from_secs(5));
    let mut story = Story::new(policy);
    story.tell(Event::Spawned(id(0))).actions();
    assert_eq!(story.at_after_gap(60_000, 58_000).actions(), NOTHING);
    assert_eq!(story.due_in(), Some(63_000), "what was left of it");
    assert_eq!(story.at(63_000).actions(), NOTHING);
    assert_eq!(story.at_after_gap(80_000, 16_500).actions(), NOTHING);
    assert_eq!(story.due_in(), Some(81_000), "all of the confirmation");
    assert_eq!(story.at(81_000).actions(), ["SIGTERM 0"]);
}

#[test]
fn a_gap_is_no_time_in_which_to_end() {
    let mut story = Story::up(graph(&[&[]]));
    assert_eq!(story.tell(Event::Stop(id(0))).actions(), ["SIGTERM 0"]);
    assert_eq!(story.at_after_gap(60_000, 55_000).actions(), NOTHING);
    assert_eq!(story.at(62_999).actions(), NOTHING);
    assert_eq!(story.at(63_000).actions(), ["kill 0"]);
}

#[test]
fn a_shutdown_takes_twice_its_time_at_the_most_whatever_gaps_there_are() {
    let mut story = Story::up(graph(&[&[]]));
    assert_eq!(story.signal(Signal::TERM).actions(), ["SIGTERM 0"]);
    assert_eq!(story.at(4500).actions(), ["terminate rest"]);
    assert_eq!(story.at_after_gap(9500, 5000).actions(), NOTHING);
    assert_eq!(story.due_in(), Some(13_000));
    assert_eq!(story.at_after_gap(15_000, 5000).actions(), NOTHING);
    assert_eq!(story.due_in(), Some(16_000), "twice the grace of 8 s");
    assert_eq!(story.at_after_gap(60_000, 45_000).actions(), ["kill all"]);
    assert_eq!(story.at_after_gap(70_000, 9000).tell(Event::TreeEmpty).actions(), NOTHING);
    assert_eq!(story.outcome().overran, [id(0)]);
}

#[test]
fn a_failed_service_starts_again_until_it_is_enough() {
    let mut policy = graph(&[&[], &[0]]);
    policy.services[0].restart = restarts(RestartWhen::OnFailure);
    let mut story = Story::up(policy);
    for longest in [1000, 2000] {
        assert_eq!(story.exits(0, 3).actions(), NOTHING);
        let wait = story.due_in().unwrap() - story.millis();
        assert!((longest * 3 / 4..=longest).contains(&wait), "{wait}");
        let due = story.due_in().unwrap() as u64;
        assert_eq!(story.at(due + 1).actions(), ["spawn 0"]);
        story.tell(Event::Spawned(id(0)));
    }
    assert_eq!(story.exits(0, 4).actions(), ["SIGTERM 1"]);
    story.exits(1, 0).tell(Event::TreeEmpty);
    let outcome = story.outcome();
    assert_eq!(outcome.cause, Cause::Exited(id(0), ExitStatus::Code(4)));
    assert_eq!((outcome.code, story.core.restarts(id(0))), (4, 2));
}

#[test]
fn success_restarts_only_what_always_restarts() {
    let mut policy = graph(&[&[], &[]]);
    policy.services[0].restart = restarts(RestartWhen::OnFailure);
    policy.services[0].on_exit = OnExit::Ignore;
    policy.services[1].restart = restarts(RestartWhen::Always);
    let mut story = Story::up(policy);
    story.exits(0, 0).exits(1, 0);
    assert_eq!(story.core.state(id(0)), State::Gone(End::Done));
    assert!(matches!(story.core.state(id(1)), State::Backoff { .. }));
}

#[test]
fn nothing_restarts_once_the_shutdown_has_begun() {
    let mut policy = graph(&[&[], &[]]);
    policy.services[0].restart = restarts(RestartWhen::Always);
    let mut story = Story::up(policy);
    story.exits(0, 1).actions();
    assert_eq!(story.signal(Signal::TERM).actions(), ["SIGTERM 1"]);
    assert_eq!(story.exits(1, 0).actions(), ["terminate rest"]);
    assert_eq!(story.at(5000).actions(), NOTHING);
}

#[test]
fn a_program_that_could_not_be_started_is_tried_again() {
    let mut policy = graph(&[&[]]);
    policy.services[0].restart = restarts(RestartWhen::OnFailure);
    let mut story = Story::new(policy);
    story.actions();
    assert_eq!(story.tell(Event::SpawnFailed(id(0), 125)).actions(), NOTHING);
    assert_eq!(story.at(1000).actions(), ["spawn 0"]);
    story.tell(Event::SpawnFailed(id(0), 125)).at(5000);
    story.tell(Event::SpawnFailed(id(0), 125)).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().cause, Cause::SpawnFailed(id(0), 125));
}

#[test]
fn what_could_not_be_started_too_often_means_what_on_exit_says() {
    let mut policy = graph(&[&[], &[]]);
    policy.services[0].restart = RestartPolicy { max: 1, ..restarts(RestartWhen::Always) };
    policy.services[0].on_exit = OnExit::Ignore;
    let mut story = Story::new(policy);
    story.tell(Event::Spawned(id(1))).tell(Event::SpawnFailed(id(0), 127)).at(1000).actions();
    assert_eq!(story.tell(Event::SpawnFailed(id(0), 127)).actions(), NOTHING);
    assert_eq!(story.core.state(id(0)), State::Gone(End::Failed));
    assert_eq!(story.core.cause(), None);
}

#[test]
fn those_that_fail_and_come_back_take_nobodys_turn() {
    let mut policy = graph(&[&[][..]; 20]);
    for service in &mut policy.services {
        service.restart = RestartPolicy { max: 1000, ..restarts(RestartWhen::Always) };
        service.restart.delay = Duration::ZERO;
    }
    let mut story = Story::new(policy);
    // Each of the first 16 fails at once, and would be the first again.
    for number in 0..16 {
        story.tell(Event::SpawnFailed(id(number), 125));
    }
    let actions = story.actions();
    for number in 16..20 {
        assert!(actions.contains(&format!("spawn {number}")), "{number}: {actions:?}");
    }
}

#[test]
fn starting_one_takes_along_what_it_requires_and_is_just_stopping() {
    let mut story = Story::up(requiring(&[&[], &[0]], WhenRequiredExits::Stop));
    story.tell(Event::Stop(id(1))).exits(1, 0).tell(Event::Stop(id(0))).actions();
    story.tell(Event::Start(id(1)));
    assert_eq!(story.exits(0, 0).actions(), ["spawn 0"]);
    assert_eq!(story.tell(Event::Spawned(id(0))).actions(), ["spawn 1"]);
}

#[test]
fn the_first_to_fail_is_the_cause_and_not_the_first_to_end() {
    let mut policy = graph(&[&[], &[], &[]]);
    for service in &mut policy.services[..2] {
        service.has_readiness = true;
        service.start_timeout = Some(Duration::from_secs(5));
    }
    let late = |policy: &Policy| {
        let mut story = Story::up(policy.clone());
        story.at(5000).at(6000);
        story
    };
    assert_eq!(late(&policy).exits(1, 0).core.cause(), Some(Cause::Unready(id(0))));
    let cause = late(&policy).exits(2, 0).core.cause();
    assert_eq!(cause, Some(Cause::Unready(id(0))), "what comes later does not hide it");
    let cause = late(&policy).signal(Signal::TERM).core.cause();
    assert_eq!(cause, Some(Cause::Requested(Signal::TERM)));
    policy.services[0].on_exit = OnExit::Ignore;
    assert_eq!(late(&policy).exits(2, 3).core.cause(), Some(Cause::Unready(id(1))));
    let mut unwell = Story::up(graph(&[&[], &[]]));
    unwell.tell(Event::Unhealthy(id(1))).exits(0, 0);
    assert_eq!(unwell.core.cause(), Some(Cause::Unhealthy(id(1))));
}

#[test]
fn what_is_no_longer_well_is_restarted_or_ends_the_bundle() {
    let mut policy = graph(&[&[]]);
    policy.services[0].restart = restarts(RestartWhen::OnFailure);
    let mut story = Story::up(policy);
    assert_eq!(story.tell(Event::Unhealthy(id(0))).actions(), ["SIGTERM 0"]);
    assert_eq!(story.exits(0, 0).actions(), NOTHING, "its own code does not matter");
    assert_eq!(story.at(1000).actions(), ["spawn 0"]);

    let mut story = Story::up(graph(&[&[]]));
    story.tell(Event::Unhealthy(id(0))).exits(0, 0).tell(Event::TreeEmpty);
    let outcome = story.outcome();
    assert_eq!((outcome.cause, outcome.code), (Cause::Unhealthy(id(0)), CHECK_FAILED));
}

#[test]
fn what_requires_the_gone_is_not_started_but_what_only_comes_after_is() {
    let mut policy = graph(&[&[], &[0], &[0]]);
    policy.services[0].kind = ServiceType::Oneshot;
    policy.services[0].on_exit = OnExit::Ignore;
    policy.services[1].requires = vec![id(0)];
    let mut story = Story::new(policy);
    story.tell(Event::Spawned(id(0))).actions();
    assert_eq!(story.exits(0, 9).actions(), ["spawn 2"]);
    assert_eq!(story.core.state(id(1)), State::Gone(End::Failed));
    story.tell(Event::Spawned(id(2)));
    story.signal(Signal::TERM).exits(2, 0).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().code, 0);
}

#[test]
fn dependents_are_kept_stopped_or_restarted_as_they_say() {
    for (when, actions, state) in [
        (WhenRequiredExits::Keep, &[][..], None),
        (WhenRequiredExits::Stop, &["SIGTERM 1"][..], Some(State::Gone(End::Done))),
        (WhenRequiredExits::Restart, &["SIGTERM 1"][..], Some(State::Waiting)),
    ] {
        let mut policy = requiring(&[&[], &[0]], when);
        policy.services[0].restart = restarts(RestartWhen::Always);
        let mut story = Story::up(policy);
        assert_eq!(story.exits(0, 1).actions(), actions, "{when:?}");
        let Some(state) = state else { continue };
        story.exits(1, 0);
        assert_eq!(story.core.state(id(1)), state, "{when:?}");
        let again = story.at(1000).tell(Event::Spawned(id(0))).actions();
        let expected: &[&str] =
            if state == State::Waiting { &["spawn 0", "spawn 1"] } else { &["spawn 0"] };
        assert_eq!(again, expected, "{when:?}");
    }
}

#[test]
fn an_operator_stops_and_starts_and_the_bundle_stays_up() {
    let mut story = Story::up(requiring(&[&[], &[0]], WhenRequiredExits::Restart));
    // The one that requires it goes first.
    assert_eq!(story.tell(Event::Stop(id(0))).actions(), ["SIGTERM 1"]);
    assert_eq!(story.exits(1, 0).actions(), ["SIGTERM 0"]);
    assert_eq!(story.exits(0, 0).actions(), NOTHING);
    assert_eq!(story.core.state(id(0)), State::Gone(End::Stopped));
    assert_eq!(story.due_in(), None);
    assert_eq!(story.tell(Event::Start(id(0))).actions(), ["spawn 0"]);
    assert_eq!(story.tell(Event::Spawned(id(0))).actions(), ["spawn 1"]);
}

#[test]
fn a_restart_asked_for_has_no_delay_and_does_not_count() {
    let mut policy = graph(&[&[], &[]]);
    policy.signals.insert(Signal::HUP, SignalRoute::Restart(vec![id(1)]));
    let mut story = Story::up(policy);
    assert_eq!(story.signal(Signal::HUP).actions(), ["SIGTERM 1"]);
    assert_eq!(story.signal(Signal::HUP).actions(), NOTHING, "once is enough");
    assert_eq!(story.exits(1, 9).actions(), ["spawn 1"]);
    assert_eq!(story.core.restarts(id(1)), 0);
}

#[test]
fn starting_one_starts_what_it_requires() {
    let mut story = Story::up(requiring(&[&[], &[0]], WhenRequiredExits::Keep));
    story.tell(Event::Stop(id(1))).exits(1, 0).tell(Event::Stop(id(0))).exits(0, 0).actions();
    assert_eq!(story.tell(Event::Start(id(1))).actions(), ["spawn 0"]);
    assert_eq!(story.tell(Event::Spawned(id(0))).actions(), ["spawn 1"]);
}

#[test]
fn a_request_in_a_shutdown_changes_nothing() {
    let mut story = Story::up(graph(&[&[], &[]]));
    story.signal(Signal::TERM).exits(1, 0).actions();
    for event in [Event::Start(id(1)), Event::Restart(id(1)), Event::Restart(id(0))] {
        assert_eq!(story.tell(event).actions(), NOTHING, "{event:?}");
    }
    story.exits(0, 0).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().code, 0);
}

#[test]
fn an_operator_ends_the_bundle_with_a_code() {
    let mut story = Story::up(graph(&[&[]]));
    assert_eq!(story.tell(Event::Shutdown(42)).actions(), ["SIGTERM 0"]);
    story.exits(0, 0).tell(Event::TreeEmpty);
    assert_eq!((story.outcome().cause, story.outcome().code), (Cause::Commanded(42), 42));
}

#[test]
fn a_drain_holds_the_stop_signal_back() {
    let mut policy = graph(&[&[]]);
    policy.services[0].drain = Duration::from_secs(2);
    let mut story = Story::up(policy);
    assert_eq!(story.signal(Signal::TERM).actions(), NOTHING);
    assert_eq!(story.due_in(), Some(2000));
    assert_eq!(story.at(2000).actions(), ["SIGTERM 0"]);
}

#[test]
fn a_stop_command_comes_in_place_of_the_signal_unless_it_fails() {
    let mut policy = graph(&[&[]]);
    policy.services[0].has_stop_command = true;
    let mut story = Story::up(policy);
    assert_eq!(story.signal(Signal::TERM).actions(), ["stop-command 0"]);
    let failed = Event::StopCommandFailed(id(0));
    assert_eq!(story.tell(failed).actions(), ["SIGTERM 0"]);
}

#[test]
fn a_cycle_that_got_past_the_reader_hangs_nothing() {
    let mut story = Story::new(graph(&[&[1], &[0], &[]]));
    assert_eq!(story.actions(), ["spawn 2"]);
    story.tell(Event::Spawned(id(2))).signal(Signal::TERM).exits(2, 0).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().code, 0);
}

#[test]
fn a_reload_starts_what_is_new_and_stops_what_is_gone() {
    let mut story = Story::up(graph(&[&[], &[]]));
    // Service 0 goes; 2 comes, and stands before 1 in the file.
    let mut policy = graph(&[&[], &[2], &[]]);
    policy.services[0].is_retired = true;
    policy.services[1].place = 1;
    let changes = Changes { started: vec![id(2)], stopped: vec![id(0)], ..Changes::default() };
    assert_eq!(story.reload(policy, &changes).actions(), ["spawn 2", "SIGTERM 0"]);
    story.tell(Event::Spawned(id(2))).exits(0, 3).actions();
    assert_eq!(story.core.state(id(0)), State::Gone(End::Stopped));
    assert_eq!(story.signal(Signal::TERM).actions(), ["SIGTERM 1"]);
    assert_eq!(story.exits(1, 0).actions(), ["SIGTERM 2"]);
}

#[test]
fn what_is_gone_from_the_file_keeps_no_bundle_up() {
    let mut story = Story::up(graph(&[&[], &[]]));
    let mut policy = graph(&[&[], &[]]);
    policy.services[0].is_retired = true;
    policy.services[1].on_exit = OnExit::Ignore;
    let changes = Changes { stopped: vec![id(0)], ..Changes::default() };
    story.reload(policy, &changes).exits(0, 0).exits(1, 0).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().cause, Cause::AllExited(None));
}

#[test]
fn a_changed_service_is_asked_in_the_old_way_and_starts_in_the_new() {
    let mut policy = graph(&[&[]]);
    policy.services[0].stop_signal = Some(signal("USR1"));
    let mut story = Story::up(policy.clone());
    policy.services[0].stop_signal = Some(signal("QUIT"));
    let changes = Changes { restarted: vec![id(0)], ..Changes::default() };
    assert_eq!(story.reload(policy, &changes).actions(), ["SIGUSR1 0"]);
    assert_eq!(story.exits(0, 0).actions(), ["spawn 0"]);
    story.tell(Event::Spawned(id(0)));
    assert_eq!(story.signal(Signal::TERM).actions(), ["SIGQUIT 0"]);
}

#[test]
fn a_changed_service_that_an_operator_stopped_stays_down() {
    for is_down in [false, true] {
        let policy = graph(&[&[], &[]]);
        let mut story = Story::up(policy.clone());
        story.tell(Event::Stop(id(0)));
        if is_down {
            story.exits(0, 0);
        }
        story.actions();
        let changes = Changes { restarted: vec![id(0)], ..Changes::default() };
        story.reload(policy, &changes);
        if !is_down {
            story.exits(0, 0);
        }
        assert_eq!(story.actions(), NOTHING);
    }
}

#[test]
fn a_changed_service_that_had_failed_gets_another_chance() {
    let mut policy = graph(&[&[], &[]]);
    policy.services[0].on_exit = OnExit::Ignore;
    let mut story = Story::up(policy.clone());
    story.exits(0, 1).actions();
    let changes = Changes { restarted: vec![id(0)], ..Changes::default() };
    assert_eq!(story.reload(policy, &changes).actions(), ["spawn 0"]);
}

#[test]
fn nothing_is_reloaded_once_the_shutdown_has_begun() {
    let mut policy = graph(&[&[]]);
    policy.signals.insert(Signal::HUP, SignalRoute::Reload);
    let mut story = Story::up(policy.clone());
    assert_eq!(story.signal(Signal::HUP).actions(), ["reload"]);
    story.signal(Signal::TERM).actions();
    assert_eq!(story.signal(Signal::HUP).actions(), NOTHING);
    let policy = graph(&[&[], &[]]);
    let changes = Changes { started: vec![id(1)], ..Changes::default() };
    assert_eq!(story.reload(policy, &changes).actions(), NOTHING);
    assert_eq!(story.exits(0, 0).tell(Event::TreeEmpty).outcome().code, 0);
}

fn signal(name: &str) -> Signal {
    name.parse().unwrap()
}
