//! Services by chance, and what a new file may change about them.

use std::time::Duration;

use sidecar_init::bundle::{OnExit, RestartPolicy, RestartWhen, ServiceType, WhenRequiredExits};
use sidecar_init::supervisor::{Changes, Policy, Rules, ServiceId, ServicePolicy};

use super::Random;

/// A service that comes after some of those before it.
pub fn service(random: &mut Random, number: usize) -> ServicePolicy {
    let has_graph = random.one_in(2);
    let after: Vec<ServiceId> =
        (0..number).filter(|_| has_graph && random.one_in(2)).map(ServiceId).collect();
    let requires = after.iter().copied().filter(|_| random.one_in(2)).collect();
    let kind = if random.one_in(5) { ServiceType::Oneshot } else { ServiceType::Daemon };
    let pick = |random: &mut Random| random.below(3);
    let rules = Rules {
        has_readiness: kind == ServiceType::Daemon && random.one_in(2),
        kind,
        when_required_exits: [
            WhenRequiredExits::Keep,
            WhenRequiredExits::Stop,
            WhenRequiredExits::Restart,
        ][pick(random) as usize],
        start_timeout: random.one_in(2).then(|| random.millis(4000)),
        restart: RestartPolicy {
            when: [RestartWhen::Never, RestartWhen::OnFailure, RestartWhen::Always]
                [pick(random) as usize],
            max: random.below(5) as u32,
            within: Duration::from_secs(20),
            delay: random.millis(1000),
            max_delay: Duration::from_secs(3),
        },
        drain: if random.one_in(4) { random.millis(2000) } else { Duration::ZERO },
        has_stop_command: random.one_in(5),
        grace: random.one_in(3).then(|| random.millis(3000)),
        on_exit: if random.one_in(2) { OnExit::Ignore } else { OnExit::Shutdown },
        ..Rules::default()
    };
    ServicePolicy { after, requires, place: number, ..rules.into() }
}

/// Changes the policy as a reload may.
pub fn change(random: &mut Random, policy: &mut Policy) -> Changes {
    let mut changes = Changes::default();
    for number in 0..policy.services.len() {
        let id = ServiceId(number);
        let is_named = policy.services.iter().any(|service| service.after.contains(&id));
        match random.below(6) {
            0 if !policy.services[number].is_retired && !is_named => {
                policy.services[number].is_retired = true;
                policy.services[number].requires.clear();
                changes.stopped.push(id);
            }
            1 if policy.services[number].is_retired => {
                policy.services[number].is_retired = false;
                changes.started.push(id);
            }
            2 if !policy.services[number].is_retired => {
                policy.services[number].grace = Some(random.millis(3000));
                changes.restarted.push(id);
            }
            _ => {}
        }
    }
    if policy.services.len() < 8 && random.one_in(2) {
        let number = policy.services.len();
        policy.services.push(service(random, number));
        policy.in_file_order &= policy.services[number].after.is_empty();
        // It may come after one that is no longer in the file.
        let retired: Vec<ServiceId> =
            (0..number).map(ServiceId).filter(|id| policy.services[id.0].is_retired).collect();
        policy.services[number].after.retain(|id| !retired.contains(id));
        policy.services[number].requires.retain(|id| !retired.contains(id));
        changes.started.push(ServiceId(number));
    }
    changes
}
