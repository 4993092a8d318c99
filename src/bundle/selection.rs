//! Selects services of a bundle. Pure.

use std::collections::{BTreeMap, BTreeSet};

use strict_toml::listed;

use super::{Bundle, Route, ServiceType};

/// The result of a selection such as `egress, pipelock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The indices of the selected services, in the order of the bundle.
    pub kept: Vec<usize>,
    /// Unknown names, as written, without duplicates.
    pub unknown: Vec<String>,
}

/// Parses `text`: names between commas, in any order, with white space and duplicates. Without a name
/// it selects every service. Oneshots that a selected service requires are selected too, and those that
/// these require: a user who selects daemons need not know which preparation they need.
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

/// The indices of the selected services and of the oneshots that they require.
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

/// Removes services that are not selected from the routes, and then routes without services, so that
/// their signals are dropped and logged. A route names a service, or the service that it is an instance
/// of.
pub fn drop_lost_routes(bundle: &mut Bundle) {
    let named = bundle.services.iter();
    let named = named.flat_map(|service| [Some(&service.name), service.instance_of.as_ref()]);
    let there: BTreeSet<&String> = named.flatten().collect();
    bundle.signals.retain(|_, route| match route {
        Route::Forward { to, .. } | Route::Restart(to) => {
            to.retain(|name| there.contains(name));
            !to.is_empty()
        }
        Route::Reload | Route::Become(_) | Route::Drop => true,
    });
}

/// Required services that are not selected: the service that requires one, and the required one.
pub fn missing(bundle: &Bundle, selection: &Selection) -> Vec<(String, String)> {
    let kept = || selection.kept.iter().filter_map(|index| bundle.services.get(*index));
    let names: BTreeSet<&String> = kept().map(|service| &service.name).collect();
    let required =
        kept().flat_map(|service| service.requires.iter().map(|name| (&service.name, name)));
    let left_out = required.filter(|(_, required)| !names.contains(required));
    left_out.map(|(name, required)| (name.clone(), required.clone())).collect()
}

/// The names of all services, for messages.
pub fn names(bundle: &Bundle) -> String {
    let names: Vec<&str> = bundle.services.iter().map(|service| service.name.as_str()).collect();
    listed(&names, ", ")
}
