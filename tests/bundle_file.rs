//! What a file means, and every way in which one can be wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use sidecar_init::bundle::health_check::{Probe, Readiness};
use sidecar_init::bundle::toml::{ConfigErrors, keys};
use sidecar_init::bundle::{
    Account, Bundle, Environment, Identity, LogFull, LogMode, OnExit, Place, ResourceLimit,
    RestartWhen, Route, ServiceType, WhenRequiredExits,
};
use sidecar_init::signal::Signal;
use sidecar_init::words::Words;

const SAMPLE: &str = r#"
[bundle]
name = "demo"
select-env = "CLAUDE_BOTTLE_SIDECAR_DAEMONS"
grace = "8s"
log = "prefix"                       # prefix | json | inherit

[[service]]
name = "egress"
command = ["/app/egress_entrypoint.sh"]
user = "egress"
environment = { EGRESS_UPSTREAM_PROXY = "http://127.0.0.1:8888" }
environment-pass = ["PATH", "EGRESS_*"]
stop-signal = "TERM"
on-exit = "shutdown"

[signals]
HUP = { to = ["egress"] }
"#;

/// Parses it, and keeps it for the schema's test.
fn parse(file: &str, text: &str) -> Result<Bundle, ConfigErrors> {
    test_support::bundles::keep(text);
    sidecar_init::bundle::toml::parse(file, text)
}

fn errors(text: &str) -> Vec<String> {
    match parse("b.toml", text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

/// A service that is fine, with one more line.
fn with(line: &str) -> String {
    format!("[[service]]\nname = \"a\"\ncommand = [\"true\"]\n{line}\n")
}

#[test]
fn a_file_of_a_later_version_gets_one_error() {
    assert_eq!(errors(&format!("[bundle]\nversion = 1\n{}", with(""))), [""; 0]);
    let wrong = "takes 1, the version of the file's format";
    let later = "is 2, and this sidecar-init reads version 1; use a later sidecar-init, or a file of \
                 version 1";
    for (text, place, expected) in [
        // Whatever else that version has.
        ("[bundle]\nnew = 1\nversion = 2\n[services.a]\nrun = \"b\"", "3:11", later),
        ("bundle = { version = 2 }\n[[service]]\nname = 1", "1:22", later),
        ("[bundle]\nversion = 0", "2:11", wrong),
        ("[bundle]\nversion = \"1\"", "2:11", wrong),
        ("[bundle]\nversion = 1.0", "2:11", wrong),
    ] {
        assert_eq!(errors(text), [format!("b.toml:{place}: `version` {expected}")], "{text}");
    }
    let misplaced = format!("version = 1\n{}", with(""));
    let error = "b.toml:1:1: unknown key `version` in the file; it is a key of [bundle]";
    assert_eq!(errors(&misplaced), [error]);
}

#[test]
fn the_sample_means_what_it_says() {
    let bundle = parse("demo.toml", SAMPLE).unwrap();
    assert_eq!(bundle.name, "demo");
    assert_eq!(bundle.select_env.as_deref(), Some("CLAUDE_BOTTLE_SIDECAR_DAEMONS"));
    assert_eq!((bundle.grace, bundle.log), (Duration::from_secs(8), LogMode::Prefix));
    let route = Route::Forward { to: vec!["egress".to_owned()], as_signal: None };
    assert_eq!(bundle.signals, BTreeMap::from([(Signal::HUP, route)]));
    let [egress] = &bundle.services[..] else { panic!("one service") };
    assert_eq!(egress.name, "egress");
    assert_eq!(egress.command, ["/app/egress_entrypoint.sh"]);
    let user = Some((Account::Name("egress".to_owned()), Place { line: 11, column: 8 }));
    assert_eq!(egress.identity, Identity { user, ..Identity::default() });
    let upstream = ("EGRESS_UPSTREAM_PROXY".to_owned(), "http://127.0.0.1:8888".to_owned());
    assert_eq!(
        egress.environment,
        Environment {
            pass: Some(vec!["PATH".to_owned(), "EGRESS_*".to_owned()]),
            set: vec![upstream],
            ..Environment::default()
        }
    );
    assert_eq!((egress.stop_signal, egress.on_exit), (Signal::TERM, OnExit::Shutdown));
    assert_eq!(egress.success_codes, [0]);
}

#[test]
fn a_path_that_no_unix_socket_has_is_refused_wherever_it_stands() {
    let path = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    let texts = |bytes: usize| {
        let path = path(bytes);
        [
            with(&format!("[bundle]\nsocket = \"{path}\"")),
            with(&format!("listen = [\"unix:{path}\"]")),
            with(&format!("ready = {{ unix = \"{path}\" }}")),
            with(&format!("live = {{ unix = \"{path}\" }}")),
        ]
    };
    let message = "the path of a Unix socket has at most 107 bytes, and this one has 108";
    for (fine, long) in texts(107).iter().zip(texts(108)) {
        assert_eq!(errors(fine), [""; 0], "{fine}");
        let errors = errors(&long);
        assert!(errors.len() == 1 && errors[0].ends_with(message), "{errors:?}");
    }
}

#[test]
fn every_other_key_is_read() {
    let text = r#"
        [[service]]
        name = "a"
        command = ["true"]
        working-directory = "/srv"
        environment-file = ["/etc/a", "/etc/b"]
        environment-drop = ["X_*"]
        user = 1000
        group = "2000"
        supplementary-groups = ["logs", 5]
        umask = "0027"
        rlimits = { nofile = 1024, core = "unlimited", nproc = { soft = 1, hard = 2 } }
        nice = -5
        oom-score-adj = 500
        no-new-privileges = true
        drop-capabilities = ["NET_RAW", "cap_chown"]
        parent-death-signal = "KILL"
        stop-signal = "RTMIN+3"
        grace = "2s"
        on-exit = "ignore"
        success-codes = [0, 143]
        log = "json"
        log-full = "drop"
        [signals]
        QUIT = { as = "TERM" }
        WINCH = { drop = true }
        USR1 = { to = ["a"], as = "HUP" }
    "#;
    let bundle = parse("b.toml", text).unwrap();
    let service = &bundle.services[0];
    let Identity { user, group, supplementary_groups } = &service.identity;
    assert_eq!(user.as_ref().map(|user| &user.0), Some(&Account::Id(1000)));
    assert_eq!(group.as_ref().map(|group| &group.0), Some(&Account::Id(2000)));
    let groups: Vec<&Account> =
        supplementary_groups.iter().flatten().map(|group| &group.0).collect();
    assert_eq!(groups, [&Account::Name("logs".to_owned()), &Account::Id(5)]);
    assert_eq!(
        (service.umask, service.nice, service.oom_score_adj),
        (Some(0o27), Some(-5), Some(500))
    );
    let limit = |resource, soft, hard| ResourceLimit { resource, soft, hard };
    let mut limits = service.rlimits.clone();
    limits.sort_by_key(|limit| limit.resource);
    assert_eq!(
        limits,
        [limit(4, None, None), limit(6, Some(1), Some(2)), limit(7, Some(1024), Some(1024))]
    );
    assert!(service.no_new_privileges);
    assert_eq!(service.drop_capabilities, 1 << 13 | 1);
    assert_eq!(service.parent_death_signal, Some(Signal::KILL));
    assert_eq!(service.stop_signal.to_string(), "SIGRTMIN+3");
    assert_eq!(service.grace, Some(Duration::from_secs(2)));
    assert_eq!(service.on_exit, OnExit::Ignore);
    assert_eq!(service.success_codes, [0, 143]);
    assert_eq!((service.log, service.log_full), (LogMode::Json, LogFull::Drop));
    assert_eq!(service.environment.files.len(), 2);
    assert_eq!(bundle.signals.len(), 3);
    assert_eq!(bundle.signals.get(&"QUIT".parse().unwrap()), Some(&Route::Become(Signal::TERM)));
}

#[test]
fn each_mistake_is_named_with_its_place_and_the_fix() {
    let cases = [
        (
            "",
            "b.toml:1:1: there is no [[service]]; a bundle has at least one, with a name and a command",
        ),
        ("[[service]]\nname = \"a\"", "b.toml:1:1: this [[service]] has no `command`"),
        ("[[service]]\ncommand = [\"x\"]", "b.toml:1:1: this [[service]] has no `name`"),
        (
            &with("stop_signal = \"TERM\""),
            "b.toml:4:1: unknown key `stop_signal` in [[service]]; did you mean `stop-signal`?",
        ),
        (
            &with("autorestart = true"),
            "b.toml:4:1: unknown key `autorestart` in [[service]]; it is called `restart`",
        ),
        (
            &with("grace = 8"),
            "b.toml:4:9: `grace` takes a duration in quotes, like \"8s\", \"500ms\" or \"1m 30s\"",
        ),
        (
            &with("grace = \"9s\""),
            "b.toml:4:9: `grace` of a service lies within the bundle's, which is 8s",
        ),
        (&with("umask = 27"), "b.toml:4:9: `umask` takes octal digits in quotes, like \"0027\""),
        (&with("nice = 20"), "b.toml:4:8: `nice` takes a whole number from -20 to 19"),
        (
            &with("user = \"a:b\""),
            "b.toml:4:8: `user` takes a name or a number; a group goes into `group`, not behind a colon",
        ),
        (
            &with("on-exit = \"restart\""),
            "b.toml:4:11: `on-exit` is one of \"shutdown\", \"ignore\", not \"restart\"",
        ),
        (
            &with("stop-signal = \"TERMINATE\""),
            "b.toml:4:15: `stop-signal`: \"TERMINATE\" is not a signal; write a name such as TERM, HUP or RTMIN+3, or a number from 1 to 64",
        ),
        (
            &with("working-directory = \"srv\""),
            "b.toml:4:21: `working-directory` is an absolute path, one that begins with /",
        ),
        (
            &with("drop-capabilities = [\"NET\"]"),
            "b.toml:4:22: \"NET\" is not a capability; write a name such as NET_RAW, or ALL",
        ),
        (
            &with("success-codes = [256]"),
            "b.toml:4:17: `success-codes` takes a list of exit codes from 0 to 255, like [0, 143]",
        ),
        (
            &with("rlimits = { nofile = { soft = 2, hard = 1 } }"),
            "b.toml:4:22: limit `nofile`: soft is above hard",
        ),
        (
            &with("[signals]\nTERM = { drop = true }"),
            "b.toml:5:1: SIGTERM can't be routed: it begins the shutdown of the bundle",
        ),
        (
            &with("[signals]\nHUP = { to = [\"b\"] }"),
            "b.toml:5:15: there is no service \"b\"; the bundle has a",
        ),
        (
            &with("[signals]\nHUP = {}"),
            "b.toml:5:7: a route has `to`, `as`, `restart`, reload = true or drop = true",
        ),
        (
            &with("[signals]\nHUP = { restart = [\"a\"], drop = true }"),
            "b.toml:5:7: `restart` can't be combined with other keys",
        ),
        (
            &with("[signals]\nHUP = { restart = [\"a\"], reload = true }"),
            "b.toml:5:7: `restart` can't be combined with other keys",
        ),
        (&with("after = [\"b\"]"), "b.toml:4:10: there is no service \"b\"; the bundle has a"),
        (
            &with("requires = [\"a\"]"),
            "b.toml:4:13: a cycle: a after a; remove one `after` or `requires`",
        ),
        (
            &with("ready = { tcp = \"example.org:80\" }"),
            "b.toml:4:17: `tcp` takes an address like 127.0.0.1:80 or [::1]:80; names are not looked up",
        ),
        (
            &with("ready = { tcp = \":80\", file = \"/x\" }"),
            "b.toml:4:9: a check has one of tcp, unix, http, exec, file",
        ),
        (
            &with("live = { http = \"localhost\" }"),
            "b.toml:4:17: `http` takes a URL like http://127.0.0.1:8080/health; names are not looked up",
        ),
        (
            &with("notify = \"fd:2\""),
            "b.toml:4:10: `notify` takes \"systemd\", or \"fd:3\" with a number from 3 to 1023",
        ),
        (
            &with("type = \"oneshot\"\nready = { tcp = \":80\" }"),
            "b.toml:5:9: a oneshot is ready when it has succeeded; leave this out",
        ),
        (
            &with("restart = \"sometimes\""),
            "b.toml:4:11: `restart` is one of \"never\", \"on-failure\", \"always\", not \"sometimes\"",
        ),
        (
            &with("restart = { policy = \"always\", max = -1 }"),
            "b.toml:4:38: `max` takes a whole number from 0 to 4294967295",
        ),
        (
            &with("[bundle]\ngrace = \"2h\""),
            "b.toml:5:9: `grace`: \"2h\" is too long; it is at most 1h",
        ),
        (
            "[[service]]\nname = \"a b\"\ncommand = [\"x\"]",
            "b.toml:2:8: \"a b\" is not a name for a service; a letter or digit, then letters, digits, `.`, `_` and `-`, 64 in all at the most",
        ),
        (
            "[[service]]\nname = \"main\"\ncommand = [\"x\"]",
            "b.toml:2:8: \"main\" is the name of the command given after `--`; choose another",
        ),
        (
            "[[service]]\nname = \"a\"\ncommand = \"nginx -g x\"",
            "b.toml:3:11: `command` is a list, one item an argument: [\"nginx\", \"-g\", \"x\"]",
        ),
        ("[[service]]\nname = \"a\"\ncommand = []", "b.toml:3:11: `command` names no program"),
        (
            &(with("") + &with("")),
            "b.toml:6:8: a second service with the name \"a\"; names are unique",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(errors(text), [expected], "{text}");
    }
}

#[test]
fn a_life_is_read() {
    let text = r#"
        [[service]]
        name = "migrate"
        command = ["true"]
        type = "oneshot"
        [[service]]
        name = "web"
        command = ["true"]
        requires = ["migrate"]
        after = ["cache"]
        when-required-exits = "restart"
        ready = { http = "http://localhost:8080/up", status = 204, period = "1s" }
        live = { exec = ["check", "it"], failures = 2 }
        restart = { policy = "always", max = 9, within = "2m", delay = "1s", max-delay = "1m" }
        stop-command = ["web", "--stop"]
        drain = "5s"
        [[service]]
        name = "cache"
        command = ["true"]
        notify = "fd:5"
        restart = "on-failure"
    "#;
    let bundle = parse("b.toml", text).unwrap();
    let [migrate, web, cache] = &bundle.services[..] else { panic!("three") };
    assert_eq!((migrate.kind, migrate.start_timeout), (ServiceType::Oneshot, None));
    assert_eq!(
        (&web.after[..], &web.requires[..]),
        (&["cache".to_owned()][..], &["migrate".to_owned()][..])
    );
    assert_eq!(web.when_required_exits, WhenRequiredExits::Restart);
    let Some(Readiness::Check(ready)) = &web.readiness else { panic!("{:?}", web.readiness) };
    let Probe::Http(target) = &ready.probe else { panic!("{:?}", ready.probe) };
    assert_eq!((&*target.path, target.status), ("/up", Some(204)));
    assert_eq!((ready.period, ready.timeout), (Duration::from_secs(1), Duration::from_secs(1)));
    let live = web.liveness.as_ref().unwrap();
    assert_eq!((&live.probe, live.failures), (&Probe::Exec(vec!["check".into(), "it".into()]), 2));
    let restart = web.restart;
    assert_eq!((restart.when, restart.max), (RestartWhen::Always, 9));
    let spans = [restart.within, restart.delay, restart.max_delay].map(|span| span.as_secs());
    assert_eq!(spans, [120, 1, 60]);
    assert_eq!(web.stop_command.as_ref().map(Vec::len), Some(2));
    assert_eq!(
        (web.drain, web.start_timeout),
        (Duration::from_secs(5), Some(Duration::from_secs(60)))
    );
    assert_eq!(cache.readiness, Some(Readiness::Descriptor(5)));
    assert_eq!(cache.restart.when, RestartWhen::OnFailure);
}

#[test]
fn single_brackets_and_bare_words_get_a_hint() {
    let single = errors("[service]\nname = \"a\"\ncommand = [\"x\"]");
    assert!(
        single.iter().any(|error| error.contains("double brackets for each one: [[service]]")),
        "{single:?}"
    );
    let bare = errors("[[service]]\nname = nginx\ncommand = [\"x\"]");
    assert!(bare[0].starts_with("b.toml:2:8: "), "{bare:?}");
    let twice = errors(&with("nice = 1\nnice = 2"));
    assert!(twice[0].ends_with(": duplicate key; each key is there once"), "{twice:?}");
    assert!(bare[0].ends_with("; text goes in quotes, like name = \"web\""), "{bare:?}");
}

#[test]
fn all_mistakes_come_at_once_in_the_files_order() {
    let text = with("nice = 99\nfoo = 1\ngrace = 1") + "[bundle]\nlog = \"xml\"\n";
    let places: Vec<String> =
        errors(&text).iter().map(|error| error.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places, ["b.toml:4:8", "b.toml:5:1", "b.toml:6:9", "b.toml:8:7"]);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]a-z\"=\\n.{}, 0-9#-]{0,200}") {
        let _ = sidecar_init::bundle::toml::parse("b.toml", &text);
    }

    #[test]
    fn no_value_for_any_key_makes_it_panic(
        key in proptest::sample::select(keys().collect::<Vec<_>>()),
        value in "(\"[a-z0-9:=]{0,9}\"|-?[0-9]{1,20}|true|\\[\"[A-Z]{0,5}\", 1\\]|\\{ a = 1 \\}|1\\.5)",
    ) {
        let _ = sidecar_init::bundle::toml::parse("b.toml", &with(&format!("{key} = {value}")));
        let _ = sidecar_init::bundle::toml::parse("b.toml", &with(&format!("[signals]\nHUP = {{ {key} = {value} }}")));
    }
}

#[test]
fn sockets_and_a_notification_have_descriptors_of_their_own() {
    let errors_of = |keys: &str| errors(&with(keys));
    assert!(
        parse("b.toml", &with("listen = [\"tcp::80\", \"unix:/x\"]\nnotify = \"fd:5\"")).is_ok()
    );
    let wrong = errors_of("listen = [\"tcp::80\", \"unix:/x\"]\nnotify = \"fd:4\"");
    assert!(wrong[0].ends_with("descriptors 3 to 4 are the sockets of `listen`; write \"fd:5\""));
    let wrong = errors_of("listen = [\"80\", \"tcp::80\", \"tcp::80\"]");
    assert!(wrong[0].contains("\"80\" is not a socket address"), "{wrong:?}");
    assert!(wrong[1].ends_with("\"tcp::80\" is in the list already"), "{wrong:?}");
}

#[test]
fn the_documentation_has_every_key_and_no_other() {
    let text = include_str!("../docs/bundle.md");
    let documented: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(documented, keys().collect());
}

#[test]
fn the_documentation_has_every_word_and_no_other() {
    fn words<T: Words>() -> Vec<String> {
        T::all_words().iter().map(|word| format!("`\"{word}\"`")).collect()
    }
    let text = include_str!("../docs/bundle.md");
    for (key, words) in [
        ("log", words::<LogMode>()),
        ("log-full", words::<LogFull>()),
        ("on-exit", words::<OnExit>()),
        ("type", words::<ServiceType>()),
        ("when-required-exits", words::<WhenRequiredExits>()),
        ("restart", words::<RestartWhen>()),
        ("policy", words::<RestartWhen>()),
    ] {
        let row = format!("| `{key}` | `\"");
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with(&row)).collect();
        assert!(!rows.is_empty(), "{key}");
        for row in rows {
            let cell = row.split(" | ").nth(1).unwrap();
            let documented: Vec<&str> =
                cell.split(", ").filter(|word| word.starts_with("`\"")).collect();
            assert_eq!(documented, words, "{row}");
        }
    }
}

#[test]
fn the_examples_are_right() {
    let demo = parse("demo.toml", include_str!("../examples/demo.toml"));
    assert_eq!(demo.map(|bundle| bundle.services.len()), Ok(3));
    let readme = include_str!("../README.md");
    for (number, services) in [(1, 2), (2, 3)] {
        let sample = readme.split("```toml\n").nth(number).unwrap().split("```").next().unwrap();
        assert_eq!(parse("README.md", sample).map(|bundle| bundle.services.len()), Ok(services));
    }
}
