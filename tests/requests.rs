//! The core by example: what an operator or a reload wants to start, and what becomes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod story;

use std::time::Duration;

use sidecar_init::bundle::{OnExit, RestartPolicy, RestartWhen, ServiceType, WhenRequiredExits};
use sidecar_init::exit::ExitStatus;
use sidecar_init::supervisor::{
    Action, Announcement, Cause, Changes, End, Event, Policy, ServiceId, ServicePolicy, State,
};

use story::{NOTHING, Story, id};

fn bundle(count: usize) -> Policy {
    Policy {
        services: vec![ServicePolicy::default(); count],
        grace: Duration::from_secs(8),
        ..Policy::default()
    }
}

/// Service 1 requires service 0.
fn pair(when: WhenRequiredExits) -> Policy {
    let mut policy = bundle(2);
    policy.services[1].after = vec![id(0)];
    policy.services[1].requires = vec![id(0)];
    policy.services[1].when_required_exits = when;
    policy
}

fn restarts(when: RestartWhen) -> RestartPolicy {
    let delay = Duration::from_secs(1);
    let within = Duration::from_secs(60);
    RestartPolicy { when, max: 1, within, delay, max_delay: delay }
}

/// How often its start has failed.
fn failures(story: &Story, number: usize) -> u32 {
    story.core.failed_starts(id(number)).0
}

fn cause(story: &Story, number: usize) -> Option<Cause> {
    story.core.failed_starts(id(number)).1
}

fn exited(number: usize, code: u8) -> Option<Cause> {
    Some(Cause::Exited(id(number), ExitStatus::Code(code)))
}

fn is_up(story: &Story) -> bool {
    story.core.shutdown_deadline().is_none()
}

/// A bundle of one, which an operator restarts after an hour.
fn restarted(policy: Policy) -> Story {
    let mut story = Story::up(policy);
    story.at(3_600_000).tell(Event::Restart(id(0))).exits(0, 0);
    story
}

#[test]
fn what_an_operator_can_not_start_fails_alone() {
    for when in [RestartWhen::Never, RestartWhen::OnFailure, RestartWhen::Always] {
        let mut policy = bundle(1);
        policy.services[0].restart = restarts(when);
        let mut story = restarted(policy);
        story.tell(Event::SpawnFailed(id(0), 127));
        assert_eq!(cause(&story, 0), Some(Cause::SpawnFailed(id(0), 127)));
        if when != RestartWhen::Never {
            assert!(matches!(story.core.state(id(0)), State::Backoff { .. }), "{when:?}");
            story.at(3_601_000).tell(Event::SpawnFailed(id(0), 127));
        }
        assert_eq!(story.core.state(id(0)), State::Gone(End::Failed), "{when:?}");
        let note = Action::Announce(Announcement::FailedAlone(id(0)));
        assert_eq!(story.actions.iter().filter(|order| **order == note).count(), 1, "{when:?}");
        assert!(is_up(&story), "{when:?}");
        story.actions();
        // It can be started again, and then its end is an ordinary one.
        assert_eq!(story.tell(Event::Start(id(0))).actions(), ["spawn 0"]);
        story.tell(Event::Spawned(id(0))).tell(Event::Shutdown(3)).exits(0, 0);
        assert_eq!(story.tell(Event::TreeEmpty).outcome().code, 3);
    }
}

#[test]
fn what_was_up_ends_as_its_policy_says() {
    let mut story = restarted(bundle(1));
    story.tell(Event::Spawned(id(0))).at(3_601_001).exits(0, 4).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().cause, Cause::Exited(id(0), ExitStatus::Code(4)));
    assert_eq!(failures(&story, 0), 0);
}

#[test]
fn what_ends_within_a_second_was_not_up() {
    for (on_exit, code, end) in [
        (OnExit::Shutdown, 4, End::Failed),
        (OnExit::Shutdown, 0, End::Failed),
        (OnExit::Ignore, 4, End::Failed),
    ] {
        let mut policy = bundle(1);
        policy.services[0].on_exit = on_exit;
        let mut story = restarted(policy);
        story.tell(Event::Spawned(id(0)));
        assert_eq!(story.core.up_at(id(0)).map(|at| story.since_begin(at)), Some(3_601_000));
        story.at(3_600_999).exits(0, code);
        assert_eq!(story.core.state(id(0)), State::Gone(end));
        assert_eq!(cause(&story, 0), exited(0, code));
        assert!(is_up(&story), "{on_exit:?} {code}");
    }
    // One that may end as it did has done nothing wrong.
    let mut policy = bundle(1);
    policy.services[0].on_exit = OnExit::Ignore;
    let mut story = restarted(policy);
    story.tell(Event::Spawned(id(0))).exits(0, 0).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().cause, Cause::AllExited(None));
}

#[test]
fn what_is_not_ready_in_time_fails_alone() {
    let mut policy = bundle(1);
    policy.services[0].has_readiness = true;
    policy.services[0].start_timeout = Some(Duration::from_secs(5));
    let mut story = Story::up(policy);
    story.tell(Event::Ready(id(0))).tell(Event::Restart(id(0))).exits(0, 0);
    story.tell(Event::Spawned(id(0)));
    assert_eq!(story.core.up_at(id(0)), None);
    story.at(5000).at(6000).exits(0, 0);
    assert_eq!(cause(&story, 0), Some(Cause::Unready(id(0))));
    assert!(is_up(&story));
    // It is up when it is ready, but not before its first second is over.
    story.tell(Event::Start(id(0))).tell(Event::Spawned(id(0))).at(6100).tell(Event::Ready(id(0)));
    assert_eq!(story.core.up_at(id(0)).map(|at| story.since_begin(at)), Some(7000));
}

#[test]
fn a_mistake_at_the_first_start_ends_the_bundle() {
    let mut story = Story::new(bundle(1));
    story.tell(Event::SpawnFailed(id(0), 127)).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().cause, Cause::SpawnFailed(id(0), 127));
}

#[test]
fn an_automatic_restart_that_fails_ends_the_bundle() {
    let mut policy = bundle(1);
    policy.services[0].restart = restarts(RestartWhen::Always);
    let mut story = restarted(policy);
    story.tell(Event::Spawned(id(0))).at(3_700_000).exits(0, 1).at(3_701_000);
    story.tell(Event::SpawnFailed(id(0), 126)).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().cause, Cause::SpawnFailed(id(0), 126));
}

#[test]
fn what_a_reload_can_not_start_fails_alone() {
    let mut story = Story::up(bundle(2));
    let changes = Changes { started: vec![id(2)], restarted: vec![id(1)], ..Changes::default() };
    story.reload(bundle(3), &changes).exits(1, 0);
    for number in [2, 1] {
        story.tell(Event::SpawnFailed(id(number), 127));
        assert_eq!(story.core.state(id(number)), State::Gone(End::Failed));
    }
    assert!(is_up(&story));
    // What the file had before is as it was.
    story.exits(0, 7).tell(Event::TreeEmpty);
    assert_eq!(story.outcome().code, 7);
}

#[test]
fn a_oneshot_fails_alone_whenever_it_fails() {
    let mut policy = bundle(2);
    policy.services[0].kind = ServiceType::Oneshot;
    let mut story = Story::up(policy);
    story.exits(0, 0).tell(Event::Start(id(0))).tell(Event::Spawned(id(0)));
    story.at(600_000).exits(0, 5);
    assert_eq!((cause(&story, 0), is_up(&story)), (exited(0, 5), true));
    story.tell(Event::Start(id(0))).tell(Event::Spawned(id(0))).exits(0, 0);
    assert_eq!(story.core.state(id(0)), State::Gone(End::Done));
    assert_eq!(failures(&story, 0), 1);
}

#[test]
fn those_that_require_it_wait_for_it() {
    let mut story = Story::up(pair(WhenRequiredExits::Restart));
    story.tell(Event::Restart(id(0))).exits(1, 0).exits(0, 0);
    story.tell(Event::SpawnFailed(id(0), 127)).actions();
    assert_eq!(story.core.state(id(1)), State::Waiting);
    assert_eq!(story.core.missing(id(1)), Some(id(0)));
    assert_eq!(story.tell(Event::Start(id(0))).actions(), ["spawn 0"]);
    assert_eq!(story.core.missing(id(1)), None);
    assert_eq!(story.tell(Event::Spawned(id(0))).actions(), ["spawn 1"]);
    // They were taken along by the operator.
    story.tell(Event::SpawnFailed(id(1), 127));
    assert!(is_up(&story));
}

#[test]
fn those_that_a_failure_took_along_are_not_on_request() {
    let mut policy = pair(WhenRequiredExits::Restart);
    policy.services[0].restart = restarts(RestartWhen::Always);
    let mut story = Story::up(policy);
    story.tell(Event::Restart(id(0))).exits(1, 0).exits(0, 0);
    story.tell(Event::Spawned(id(0))).tell(Event::Spawned(id(1)));
    story.at(60_000).exits(0, 1).exits(1, 0).at(61_000).tell(Event::Spawned(id(0)));
    story.tell(Event::SpawnFailed(id(1), 127));
    assert!(!is_up(&story));
}

#[test]
fn a_stop_or_restart_is_not_forgotten_for_a_start() {
    for event in [Event::Stop as fn(ServiceId) -> Event, Event::Restart] {
        // Service 1 has to end first, so that 0 is not asked yet.
        let mut story = Story::up(pair(WhenRequiredExits::Stop));
        story.tell(event(id(0))).tell(Event::Start(id(0))).actions();
        assert!(story.core.is_to_end(id(0)));
        assert_eq!(story.core.up_at(id(0)), None);
        assert_eq!(story.exits(1, 0).actions(), ["SIGTERM 0"]);
        assert_eq!(story.exits(0, 0).actions(), ["spawn 0"]);
    }
    // What came last counts in the end.
    let mut story = Story::up(bundle(1));
    story.tell_all(&[Event::Start(id(0)), Event::Restart(id(0)), Event::Stop(id(0))]);
    assert_eq!(story.exits(0, 0).actions(), ["SIGTERM 0"]);
    assert_eq!(story.core.state(id(0)), State::Gone(End::Stopped));
    assert_eq!(story.tell(Event::Stop(id(0))).actions(), NOTHING);
}
