//! Checks the dependencies for unknown names and cycles.

use std::collections::BTreeMap;

use strict_toml::{Diagnostics, listed, nearest};

use super::life::Named;
use crate::bundle::Service;
use crate::bundle::cycle::cycle;

pub(super) fn check(services: &[Service], named: &[Named], diagnostics: &mut Diagnostics) {
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    // The first service of a duplicate name, which is reported elsewhere.
    let by_name: BTreeMap<&str, usize> = names.iter().copied().zip(0..names.len()).rev().collect();
    let mut edges = vec![Vec::new(); services.len()];
    for (index, Named { after, requires }) in named.iter().enumerate() {
        for (name, span) in after.iter().chain(requires) {
            match by_name.get(&**name) {
                Some(other) => edges[index].push((*other, span.clone())),
                None => diagnostics.add_with(span.clone(), || {
                    let fix = match nearest(name, &names) {
                        Some(near) => format!("did you mean \"{near}\"?"),
                        None => format!("the bundle has {}", listed(&names, ", ")),
                    };
                    format!("there is no service \"{name}\"; {fix}")
                }),
            }
        }
    }
    let targets: Vec<Vec<usize>> =
        edges.iter().map(|list| list.iter().map(|(other, _)| *other).collect()).collect();
    if let Some(cycle) = cycle(&targets) {
        let walk: Vec<&str> =
            cycle.iter().chain(cycle.first()).map(|index| names[*index]).collect();
        let next = cycle.get(1).unwrap_or(&cycle[0]);
        let place = edges[cycle[0]].iter().find(|(other, _)| other == next);
        let span = place.map(|(_, span)| span.clone()).unwrap_or_default();
        let message =
            format!("a cycle: {}; remove one `after` or `requires`", listed(&walk, " after "));
        diagnostics.add(span, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_found_whole() {
        assert_eq!(cycle(&[vec![1], vec![2], vec![]]), None);
        assert_eq!(cycle(&[vec![1, 2], vec![2], vec![]]), None, "two ways are no cycle");
        assert_eq!(cycle(&[vec![1], vec![2], vec![1]]), Some(vec![1, 2]));
        assert_eq!(cycle(&[vec![0]]), Some(vec![0]));
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let edges: Vec<Vec<usize>> = (0..10_000).map(|index| vec![index + 1]).collect();
        assert_eq!(cycle(&[edges, vec![vec![]]].concat()), None);
    }
}
