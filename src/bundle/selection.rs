//! Narrows a bundle to some of its services. Pure.

use std::collections::{BTreeMap, BTreeSet};

use strict_toml::listed;

use super::{Bundle, Route, Service, ServiceType};

/// What a text such as `egress, pipelock` selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The selected services by their place in the bundle, in its order.
    pub kept: Vec<usize>,
    /// Names that no service has, as written, each once.
    pub unknown: Vec<String>,
}

/// What `text` selects: names between commas, in any order, with white space around them, more
/// than once or not. A text without a name selects every service. The oneshots that a selected
/// service requires come along, and what these require in turn: who says which daemons are to run
/// does not have to know what has to be prepared for them.
pub fn select(bundle: &Bundle, text: &str) -> Selection {
    let wanted: Vec<&str> =
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let places = places(bundle);
    let mut named = vec![wanted.is_empty(); bundle.services.len()];
    let (mut unknown, mut seen) = (Vec::new(), BTreeSet::new());
    for name in wanted {
        match places.get(name) {
            Some(place) => named[*place] = true,
            None if seen.insert(name) => unknown.push(name.to_owned()),
            None => {}
        }
    }
    Selection { kept: with_required_oneshots(bundle, &places, named), unknown }
}

fn places(bundle: &Bundle) -> BTreeMap<&str, usize> {
    bundle.services.iter().map(|service| &*service.name).zip(0..).collect()
}

/// The places of those that are kept and of the oneshots they require.
fn with_required_oneshots(
    bundle: &Bundle,
    places: &BTreeMap<&str, usize>,
    mut kept: Vec<bool>,
) -> Vec<usize> {
    let all = || 0..bundle.services.len();
    let mut to_visit: Vec<usize> = all().filter(|place| kept[*place]).collect();
    while let Some(place) = to_visit.pop() {
        for name in &bundle.services[place].requires {
            let Some(other) = places.get(&**name).copied() else { continue };
            if bundle.services[other].kind == ServiceType::Oneshot && !kept[other] {
                kept[other] = true;
                to_visit.push(other);
            }
        }
    }
    all().filter(|place| kept[*place]).collect()
}

/// The bundle with only the selected services.
pub fn narrow(mut bundle: Bundle, selection: &Selection) -> Bundle {
    let mut kept = (0..).map(|index| selection.kept.binary_search(&index).is_ok());
    bundle.services.retain(|_| kept.next().unwrap_or(false));
    bundle
}

/// Takes those out of the routes that are not there, and the routes that lead nowhere then, so
/// that their signals are dropped and logged. Services stand in a route by their name or by the
/// one that they are instances of.
pub fn drop_lost_routes(bundle: &mut Bundle) {
    let names = |service: &'_ Service| {
        [Some(service.name.clone()), service.instance_of.clone()].into_iter().flatten()
    };
    let there: BTreeSet<String> = bundle.services.iter().flat_map(names).collect();
    bundle.signals.retain(|_, route| match route {
        Route::Forward { to, .. } | Route::Restart(to) => {
            to.retain(|name| there.contains(name));
            !to.is_empty()
        }
        Route::Reload | Route::Become(_) | Route::Drop => true,
    });
}

/// What the selected services require that is not selected: who, and what.
pub fn missing(bundle: &Bundle, selection: &Selection) -> Vec<(String, String)> {
    let kept: Vec<&Service> =
        selection.kept.iter().filter_map(|index| bundle.services.get(*index)).collect();
    let names: BTreeSet<&str> = kept.iter().map(|service| &*service.name).collect();
    let missing_of = |service: &&Service| {
        let (name, requires) = (service.name.clone(), service.requires.clone());
        let left_out = requires.into_iter().filter(|required| !names.contains(&**required));
        left_out.map(move |required| (name.clone(), required)).collect::<Vec<_>>()
    };
    kept.iter().flat_map(missing_of).collect()
}

/// The names of all services, for messages.
pub fn names(bundle: &Bundle) -> String {
    let names: Vec<&str> = bundle.services.iter().map(|service| service.name.as_str()).collect();
    listed(&names, ", ")
}
