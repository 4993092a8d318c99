//! Narrows a bundle to some of its services. Pure.

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
    let is_wanted = |name: &str| wanted.is_empty() || wanted.contains(&name);
    let services = bundle.services.iter();
    let named = services.map(|service| is_wanted(&service.name)).collect();
    let kept = with_required_oneshots(bundle, named);
    let mut unknown = Vec::new();
    for name in &wanted {
        let known = bundle.services.iter().any(|service| service.name == *name);
        if !known && !unknown.iter().any(|seen| seen == name) {
            unknown.push((*name).to_owned());
        }
    }
    Selection { kept, unknown }
}

/// The places of those that are kept and of the oneshots they require.
fn with_required_oneshots(bundle: &Bundle, mut kept: Vec<bool>) -> Vec<usize> {
    let places = || 0..bundle.services.len();
    let mut to_visit: Vec<usize> = places().filter(|place| kept[*place]).collect();
    while let Some(place) = to_visit.pop() {
        for (other, service) in bundle.services.iter().enumerate() {
            let is_required = bundle.services[place].requires.contains(&service.name);
            if is_required && service.kind == ServiceType::Oneshot && !kept[other] {
                kept[other] = true;
                to_visit.push(other);
            }
        }
    }
    places().filter(|place| kept[*place]).collect()
}

/// The bundle with only the selected services.
pub fn narrow(mut bundle: Bundle, selection: &Selection) -> Bundle {
    let mut index = 0;
    bundle.services.retain(|_| {
        index += 1;
        selection.kept.contains(&(index - 1))
    });
    bundle
}

/// Takes those out of the routes that are not there, and the routes that lead nowhere then, so
/// that their signals are dropped with a word.
pub fn drop_lost_routes(bundle: &mut Bundle) {
    let is_there = |name: &String| bundle.services.iter().any(|service| service.name == *name);
    bundle.signals.retain(|_, route| match route {
        Route::Forward { to, .. } | Route::Restart(to) => {
            to.retain(is_there);
            !to.is_empty()
        }
        Route::Reload | Route::Become(_) | Route::Drop => true,
    });
}

/// What the selected services require that is not selected: who, and what.
pub fn missing(bundle: &Bundle, selection: &Selection) -> Vec<(String, String)> {
    let kept: Vec<&Service> =
        selection.kept.iter().filter_map(|index| bundle.services.get(*index)).collect();
    let is_kept = |name: &String| kept.iter().any(|service| service.name == *name);
    let missing_of = |service: &&Service| {
        let (name, requires) = (service.name.clone(), service.requires.clone());
        let left_out = requires.into_iter().filter(|required| !is_kept(required));
        left_out.map(move |required| (name.clone(), required)).collect::<Vec<_>>()
    };
    kept.iter().flat_map(missing_of).collect()
}

/// The names of all services, for messages.
pub fn names(bundle: &Bundle) -> String {
    let names: Vec<&str> = bundle.services.iter().map(|service| service.name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        let services: String = ["egress", "pipelock", "git-gate"]
            .iter()
            .map(|name| format!("[[service]]\nname = \"{name}\"\ncommand = [\"true\"]\n"))
            .collect();
        let text = format!("{services}[signals]\nHUP = {{ to = [\"egress\", \"pipelock\"] }}\n");
        super::super::toml::parse("bundle.toml", &text).unwrap()
    }

    fn kept(text: &str) -> Vec<usize> {
        select(&bundle(), text).kept
    }

    #[test]
    fn order_spaces_and_duplicates_do_not_matter() {
        assert_eq!(kept("pipelock,egress"), [0, 1]);
        assert_eq!(kept(" egress ,, pipelock,egress , "), [0, 1]);
    }

    #[test]
    fn no_name_means_all() {
        assert_eq!(kept(""), [0, 1, 2]);
        assert_eq!(kept(" , "), [0, 1, 2]);
    }

    #[test]
    fn unknown_names_are_told_and_select_nothing() {
        let selection = select(&bundle(), "web,egress,web");
        assert_eq!(selection, Selection { kept: vec![0], unknown: vec!["web".to_owned()] });
        assert!(kept("web").is_empty());
    }

    #[test]
    fn required_oneshots_come_along_and_required_daemons_do_not() {
        let text = r#"
            [[service]]
            name = "keys"
            type = "oneshot"
            command = ["true"]
            [[service]]
            name = "ca"
            type = "oneshot"
            command = ["true"]
            requires = ["keys"]
            [[service]]
            name = "pipelock"
            command = ["true"]
            requires = ["ca"]
            [[service]]
            name = "supervise"
            command = ["true"]
            requires = ["pipelock"]
        "#;
        let bundle = super::super::toml::parse("bundle.toml", text).unwrap();
        let kept = |text: &str| select(&bundle, text).kept;
        assert_eq!(kept("pipelock"), [0, 1, 2]);
        assert_eq!(kept("ca"), [0, 1]);
        assert_eq!(kept("supervise"), [3]);
        let left_out = missing(&bundle, &select(&bundle, "supervise"));
        assert_eq!(left_out, [("supervise".to_owned(), "pipelock".to_owned())]);
    }

    #[test]
    fn signals_go_only_to_what_is_left() {
        let mut narrowed = narrow(bundle(), &select(&bundle(), "pipelock"));
        drop_lost_routes(&mut narrowed);
        assert_eq!(names(&narrowed), "pipelock");
        let to = vec!["pipelock".to_owned()];
        let route = Route::Forward { to, as_signal: None };
        assert_eq!(narrowed.signals.values().collect::<Vec<_>>(), [&route]);

        let mut narrowed = narrow(bundle(), &select(&bundle(), "git-gate"));
        drop_lost_routes(&mut narrowed);
        assert!(narrowed.signals.is_empty());
    }
}
