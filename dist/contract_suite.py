"""The tests of the init, as programs that run inside one boot, beside Debian's programs that they call."""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = (
    "bundle_services",
    "leftovers",
    "lifecycle",
    "logs",
    "notify",
    "one_command",
    "privileges",
    "reload",
    "sockets",
    "starts",
    "terminal",
)
EXAMPLES = ("actor", "witness")
FLAGS = (
    "-C target-feature=+crt-static -C relocation-model=static"
    " -C linker=rust-lld -C linker-flavor=ld.lld -C link-self-contained=yes"
)
# What a container's engine has done for the tests of a container.
SCRIPT = """export PATH=/usr/bin:/bin HOME=/tmp
echo max >/sys/fs/cgroup/box/memory.max
mkdir /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
chmod 1777 /tmp /dev/shm
/busybox ip link set lo up
wrong=
for test in /tests/*; do
    "$(readlink "$test")" --test-threads 2 || wrong="$wrong ${test##*/}"
done
if [ -n "$wrong" ]; then
    echo "failed:$wrong"
    exit 1
fi
echo every test has passed
"""


def files(target: str, binary: bytes, start: bytes, busybox: bytes, userland: Path) -> dict[str, bytes | str]:
    """By path: the content, or for a symbolic link where it leads to. They are built for this target."""
    environment = os.environ | {"RUSTFLAGS": FLAGS, "CARGO_PROFILE_DEV_STRIP": "true"}
    cargo = ["cargo", "--quiet", "--locked"]
    options = ["--target", target, "--target-dir", ROOT / "target", "--message-format", "json"]
    tests = [option for test in TESTS for option in ("--test", test)]
    examples = [option for example in EXAMPLES for option in ("--example", example)]
    files: dict[str, bytes | str] = {}
    for package, command in (("sidecar-init", ["test", "--no-run", *tests]), ("test-support", ["build", *examples])):
        line = [cargo[0], command[0], *cargo[1:], *command[1:], "--package", package, *options]
        built = subprocess.run(line, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        for message in map(json.loads, built.stdout.splitlines()):
            if not message.get("executable"):
                continue
            # Tests and examples find each other, and the init, where cargo puts them.
            name, path = message["target"]["name"], message["executable"].lstrip("/")
            is_init = message["target"]["kind"] == ["bin"]
            files[path] = binary if is_init else (ROOT / "/" / path).read_bytes()
            if message["target"]["kind"] == ["test"]:
                files[f"tests/{name}"] = f"/{path}"
    for path in sorted(userland.rglob("*")):
        if path.is_symlink():
            files[str(path.relative_to(userland))] = os.readlink(path)
        elif path.is_file():
            files[str(path.relative_to(userland))] = path.read_bytes()
    files |= {folder: f"usr/{folder}" for folder in ("bin", "lib", "sbin")}
    if (userland / "usr/lib64").exists():
        files["lib64"] = "usr/lib64"
    accounts = {
        "etc/passwd": b"root:x:0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n",
        "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    }
    programs = {"sidecar-init": binary, "start": start, "suite": SCRIPT.encode(), "busybox": busybox}
    return files | accounts | programs
