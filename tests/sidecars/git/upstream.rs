//! The git server behind the gate: sshd in the web's container, as git.example.com, with
//! `/srv/app.git` in it.

use std::fs;

use crate::docker::{docker, text};
use crate::world::{AGENT_IMAGE, Said, Setup, World, exec};

/// Run as root in the web's container.
const SERVER: &str = "\
HostKey /web/host
AuthorizedKeysFile /web/key.pub
PidFile /run/sshd.pid
PermitRootLogin yes
";
const KEYS: &str =
    "for key in host key stranger; do ssh-keygen -q -t ed25519 -N '' -f /web/$key; done";
/// `main` with one commit, and a clone in which others work.
const REPOSITORY: &str = "
git config --global user.name Other
git config --global user.email other@example.com
git init -q --bare -b main /srv/app.git
git clone -q /srv/app.git /srv/other 2>/dev/null
cd /srv/other
echo hello > README
git add README
git commit -q -m first
git push -q origin main
";

/// Sidecars whose gate knows three upstreams: `app`, which is there; `impostor`, the same with
/// another host key than the pinned one; and `absent`, at a port where nobody answers.
pub fn setup(gate: &str) -> Setup {
    let setup = Setup::new();
    let web = format!("--volume={}:/web", setup.path("web").display());
    let made = docker(&["run", "--rm", "--network=none", &web, AGENT_IMAGE, "sh", "-euc", KEYS]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let read = |name: &str| fs::read_to_string(setup.path("web").join(name)).unwrap();
    setup.write("web/sshd_config", SERVER);
    setup.write_key("creds/key", &read("key"));
    setup.write("creds/known_hosts", &format!("git.example.com {}", read("host.pub")));
    setup.write("creds/other_hosts", &format!("git.example.com {}", read("stranger.pub")));
    let upstreams = [
        ("app", "", "known_hosts"),
        ("impostor", "", "other_hosts"),
        ("absent", ":2222", "known_hosts"),
    ];
    let upstreams = upstreams.map(|(name, port, known_hosts)| {
        format!(
            "[[upstream]]\nname = \"{name}\"\nurl = \"ssh://root@git.example.com{port}/srv/app.git\"\n\
             key = \"/git-gate/creds/key\"\nknown-hosts = \"/git-gate/creds/{known_hosts}\"\n"
        )
    });
    setup.write("git-gate/upstreams.toml", &format!("[gate]\n{gate}\n{}", upstreams.concat()));
    setup
}

/// Starts them, and then the server: the gate has to do without it until then.
pub fn start(setup: Setup) -> World {
    let world = setup.start();
    ok(&server(&world, REPOSITORY));
    up(&world);
    world
}

pub fn up(world: &World) {
    // Its log goes where the container's goes.
    let script =
        "mkdir -p /run/sshd; exec /usr/sbin/sshd -D -e -f /web/sshd_config 2> /proc/1/fd/2";
    let begin = || exec(&world.web, &["--detach"], &["sh", "-euc", script]);
    ok(&world.web.wait_after(begin, "Server listening on 0.0.0.0"));
}

/// Nobody answers at its port any more.
pub fn down(world: &World) {
    let end = || server(world, "kill \"$(cat /run/sshd.pid)\"");
    ok(&world.web.wait_after(end, "Received signal 15; terminating"));
}

/// Somebody else's commit to main that adds this file; its id.
pub fn commit(world: &World, file: &str) -> String {
    let script = "
        cd /srv/other
        git pull -q
        echo theirs > \"$1\"
        git add -A
        git commit -q -m theirs
        git push -q origin HEAD:main
        git rev-parse HEAD";
    let said = exec(&world.web, &[], &["sh", "-euc", script, "sh", file]);
    ok(&said);
    said.stdout.trim().to_owned()
}

/// Each ref and each object that upstream has, reachable or not.
pub fn everything(world: &World) -> String {
    let said = server(world, &list("/srv/app.git"));
    ok(&said);
    said.stdout
}

/// The same of the gate's mirror.
pub fn mirror(world: &World) -> String {
    let list = list("/git/app.git");
    let said = exec(&world.sidecars, &["--user=git-gate"], &["sh", "-euc", &list]);
    ok(&said);
    said.stdout
}

fn list(repository: &str) -> String {
    format!("cd {repository}; git for-each-ref; git cat-file --batch-all-objects --batch-check")
}

fn server(world: &World, script: &str) -> Said {
    exec(&world.web, &[], &["sh", "-euc", script])
}

fn ok(said: &Said) {
    assert_eq!(said.code, 0, "{said:?}");
}
