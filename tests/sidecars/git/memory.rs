//! Pushes that are small and unpack to much, in a container with 1 GiB: each is refused in one
//! sentence, and nothing is killed for memory. Each says how much memory all sidecars had at most;
//! the table in docs/sidecars.md is from there.

use super::{GIT, RULE, events, gate_within, ok, refused, run, upstream};
use crate::world::{World, exec, is_there};

struct Attack {
    name: &'static str,
    /// What the agent does in its clone.
    script: &'static str,
    /// What it reads.
    reason: &'static str,
}

/// A pack of 16 kB, as no git makes it: a delta that copies its base of 16 MB 384 times.
pub const DELTA_BOMB: &str = "
import hashlib, socket, struct, sys, zlib
def head(kind, size):
    first, size, more = kind << 4 | size & 15, size >> 4, b''
    out = [first]
    while size:
        out[-1] |= 0x80
        out.append(size & 0x7f)
        size >>= 7
    return bytes(out)
def number(value):
    out = b''
    while value > 0x7f:
        out += bytes([value & 0x7f | 0x80])
        value >>= 7
    return out + bytes([value])
size, times = 0xffffff, 384
base = bytes(size)
name = hashlib.sha1(b'blob %d\\0' % size + base).digest()
delta = number(size) + number(size * times) + bytes([0xf0, 0xff, 0xff, 0xff]) * times
objects = head(3, size) + zlib.compress(base, 9) + head(7, len(delta)) + name + zlib.compress(delta, 9)
pack = b'PACK' + struct.pack('>II', 2, 2) + objects
pack += hashlib.sha1(pack).digest()
line = b'%s %s refs/heads/bomb\\0report-status side-band-64k' % (b'0' * 40, sys.argv[1].encode())
body = b'%04x%s0000' % (len(line) + 4, line) + pack
connection = socket.create_connection(('git-gate', 9420))
connection.sendall(b'POST /app.git/git-receive-pack HTTP/1.1\\r\\nHost: git-gate\\r\\nConnection: close\\r\\n'
    b'Content-Type: application/x-git-receive-pack-request\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(body) + body)
answer = b''
while part := connection.recv(65536):
    answer += part
sys.stderr.write(answer.decode(errors='replace'))
sys.exit(7 if b'ng refs/heads/bomb' in answer else 0)
";

const ATTACKS: [Attack; 5] = [
    Attack {
        name: "a delta of 16 kB that makes 6 GB",
        script: "python -c \"$bomb\" $(git rev-parse HEAD)",
        reason: "an object in it unpacks to 6442450560 bytes; max-file-size is 52428800",
    },
    Attack {
        name: "2 MB of gzip with 1.9 GB of zeros",
        script: "head -c 1900000000 /dev/zero | gzip -9 > zeros.gz; commit; push main",
        reason: "what is packed in \"zeros.gz\" has more than max-file-size (52428800 bytes)",
    },
    Attack {
        name: "a file of 50 million empty lines",
        script: "head -c 50000000 /dev/zero | tr '\\0' '\\n' > lines; commit; push main",
        reason: "to scan it takes more than max-memory (536870912 bytes)",
    },
    Attack {
        name: "a file of 40 MB with a secret",
        script: "yes 'a line of some length, as texts have them' | head -c 40000000 > long
                 line >> long; commit; push main",
        reason: RULE,
    },
    Attack {
        name: "the same, pushed four times at once",
        script: "yes 'a line of some length, as texts have them' | head -c 40000000 > long
                 line >> long; commit
                 for number in 1 2 3 4; do git push origin main:$number & done; wait; exit 7",
        reason: RULE,
    },
];

/// In bytes, with the cache of files; and how many processes were killed.
pub fn cgroup(world: &World) -> (u64, String) {
    let script = "cd /sys/fs/cgroup
        cat memory.peak memory/memory.max_usage_in_bytes 2>/dev/null | head -n 1
        cat memory.events memory/memory.oom_control 2>/dev/null | grep '^oom_kill '";
    let said = exec(&world.sidecars, &[], &["sh", "-c", script]);
    let mut lines = said.stdout.lines();
    let peak = lines.next().and_then(|line| line.parse().ok());
    let peak = peak.unwrap_or_else(|| panic!("{said:?}"));
    (peak, lines.next().unwrap_or_default().to_owned())
}

#[test]
fn what_unpacks_to_much_costs_little_memory() {
    if !is_there() {
        return;
    }
    for Attack { name, script, reason } in ATTACKS {
        let world = gate_within("1g");
        ok(&world, &format!("git clone -q {GIT}/app.git client"));
        let before = cgroup(&world).0;
        let refs = upstream::everything(&world);
        let said = refused(
            &world,
            &format!("cd client\nbomb=$(cat <<'END'\n{DELTA_BOMB}\nEND\n)\n{script}"),
        );
        assert!(said.contains(reason), "{name}: {said}");
        let (peak, killed) = cgroup(&world);
        assert_eq!(killed, "oom_kill 0", "{name}");
        eprintln!("| {name} | {} MB | {} MB |", before >> 20, peak >> 20);
        let logged = [events(&world, "push-failed"), events(&world, "push-refused")].concat();
        assert!(!logged.is_empty(), "{name}");
        assert_eq!(upstream::everything(&world), refs);
        // And the gate goes on.
        assert_eq!(world.operator(&["sidecar-init", "health"]).code, 0, "{name}");
        let next =
            "git clone -q git://git-gate/app.git next; cd next; echo 1 > a; commit; push HEAD:next";
        assert_eq!(run(&world, next).code, 0, "{name}");
    }
}
