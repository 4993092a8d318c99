//! A secret in each of the shapes that a push can give it: refused, and nothing of it arrives.

use super::{GIT, HTTP, RULE, ok, refused, secret, upstream};
use crate::world::is_there;

struct Shape {
    name: &'static str,
    /// What the agent does in its clone; `guilty` may name the commit that has the secret.
    script: &'static str,
    push: &'static str,
    /// Where the gate has to say that it is.
    place: &'static str,
    has_commit: bool,
}

/// In a commit, and pushed as main.
const fn commit(name: &'static str, script: &'static str, place: &'static str) -> Shape {
    Shape { name, script, push: "main", place, has_commit: true }
}

/// In what only a tag names.
const fn tag(name: &'static str, script: &'static str, place: &'static str) -> Shape {
    Shape { name, script, push: "--tags", place, has_commit: false }
}

const SHAPES: [Shape; 14] = [
    commit("file", "line > app.env; commit", "app.env"),
    commit("message", "commit \"$(line)\"", "<commit message>"),
    commit(
        "evil-merge",
        "git checkout -q -b side; echo 1 > side; commit
         git checkout -q main; echo 2 > other; commit
         git merge -q --no-commit side; line > evil; commit merge
         guilty=$(git rev-parse HEAD)
         git rm -q evil; commit",
        "evil",
    ),
    commit("nul", "{ printf '\\0\\0\\n'; line; printf '\\0'; } > data.bin; commit", "data.bin"),
    commit("allow", "echo \"id = $secret # gitleaks:allow\" > app.env; commit", "app.env"),
    tag("tag-message", "git tag -a -m \"$(line)\" v1", "<tag message>"),
    tag(
        "tagged-file",
        "git tag -a -m fine v1 \"$(line | git hash-object -w --stdin)\"",
        "<file without a name>",
    ),
    commit("base64", "echo \"x = '$(line | base64 -w0)'\" > app.env; commit", "app.env"),
    commit("file-name", "mkdir dir; echo x > \"dir/$secret\"; commit", "<file name in dir/>"),
    commit("utf-16-le", "line | iconv -t UTF-16LE > notes.txt; commit", "notes.txt"),
    commit("utf-16-be", "line | iconv -t UTF-16BE > notes.txt; commit", "notes.txt"),
    commit("gz", "line | gzip > log.gz; commit", "log.gz"),
    commit(
        "deleted",
        "line > app.env; commit; guilty=$(git rev-parse HEAD); git rm -q app.env; commit",
        "app.env",
    ),
    Shape {
        name: "one-bad-branch",
        script: "git checkout -q -b a-good; echo 1 > a; commit
                 git checkout -q -b b-bad main; line > b; commit; guilty=$(git rev-parse HEAD)
                 git checkout -q -b c-good main; echo 3 > c; commit",
        push: "--all",
        place: "b",
        has_commit: true,
    },
];

#[test]
fn a_secret_in_any_shape_is_refused_and_nothing_arrives() {
    if !is_there() {
        return;
    }
    let world = upstream::start(upstream::setup(""));
    // So that the mirror is there.
    ok(&world, &format!("git clone -q {GIT}/app.git clean"));
    let upstream = upstream::everything(&world);
    let mirror = upstream::mirror(&world);
    let over_http = SHAPES.iter().filter(|shape| shape.name == "file");
    let all = SHAPES.iter().map(|shape| (GIT, shape)).chain(over_http.map(|shape| (HTTP, shape)));
    for (number, (url, shape)) in all.enumerate() {
        let Shape { name, script, push, place, has_commit } = shape;
        let script = format!(
            "git clone -q {url}/app.git {number}; cd {number}; guilty=HEAD\n{script}\n\
             echo \"guilty $(git rev-parse \"$guilty\")\" >&2; push {push}"
        );
        let said = refused(&world, &script);
        let guilty = said.lines().find_map(|line| line.strip_prefix("guilty ")).unwrap();
        let wanted = format!("remote: git-gate:   {RULE} in {place}, line ");
        let line = said.lines().find(|line| line.starts_with(&wanted));
        let line = line.unwrap_or_else(|| panic!("{name}: {wanted}\n{said}"));
        assert!(!has_commit || line.contains(&format!(", commit {}", &guilty[..12])), "{said}");
        assert!(said.contains(&format!("remote: git-gate:     fingerprint {RULE}:")), "{said}");
        assert!(!said.contains(&secret()), "{name}: the secret is shown\n{said}");
        assert_eq!(upstream::everything(&world), upstream, "{name}");
        assert_eq!(upstream::mirror(&world), mirror, "{name}");
        let refs = if *push == "--all" { 3 } else { 1 };
        assert_eq!(said.matches("[remote rejected]").count(), refs, "{said}");
    }
    let log = world.sidecars.stdout() + &world.sidecars.stderr();
    assert!(!log.contains(&secret()), "the secret is in the log");
    // It is the secrets that were refused: what has none arrives.
    ok(&world, "cd clean; echo 1 > a; commit; push main");
    assert_ne!(upstream::everything(&world), upstream);
}
