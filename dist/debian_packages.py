"""What Debian's suites have for an architecture, unpacked from their packages and kept in target/kernels."""

import os
import re
import shutil
import subprocess
from pathlib import Path

KEPT = Path(__file__).resolve().parent.parent / "target" / "kernels"


def kernel(suite: str, architecture: str, name: str) -> Path:
    """A folder with the suite's kernel of this name and busybox."""

    def unpack(scratch: Path) -> None:
        # The kernel is in what the package depends on; newer suites have one more step.
        packages = [f"linux-image-{name}"]
        for package in packages:
            shown = run(scratch, "apt-cache", "depends", package)
            depends = re.findall(r"Depends: (linux-(?:image|binary)-\S+)", shown)
            packages += [one for one in depends if one not in packages]
        # The first has nothing but its dependency.
        root = extracted(scratch, "busybox-static", *packages[1:])
        (scratch / "version").write_text(re.sub("^linux-(image|binary)-", "", packages[-1]))
        keep(root, "**/bin/busybox", scratch / "busybox")
        keep(root, "**/vmlinu[xz]*", scratch / "vmlinuz")

    return kept(f"{suite}-{architecture}", suite, architecture, unpack)


def userland(suite: str, architecture: str) -> Path:
    """A folder with what the init's tests run, and everything that this depends on."""
    wanted = ("bash", "coreutils", "dash", "grep", "mount", "procps", "python3-minimal", "sed", "util-linux")

    def unpack(scratch: Path) -> None:
        run(scratch, "apt-get", "install", "--download-only", "--no-install-recommends", "-qq", "-y", *wanted)
        unpack_all(scratch, scratch / "archives")
        for unused in ("usr/share", "usr/lib/*/perl-base", "usr/lib/*/gconv", "var"):
            for folder in (scratch / "root").glob(unused):
                shutil.rmtree(folder)
        (scratch / "root").rename(scratch / "userland")

    return kept(f"{suite}-{architecture}-userland", suite, architecture, unpack) / "userland"


def keep(root: Path, pattern: str, place: Path) -> None:
    [found] = {path.resolve() for path in root.glob(pattern) if path.is_file()}
    shutil.move(found, place)


def run(scratch: Path, *command: str) -> str:
    environment = os.environ | {"APT_CONFIG": str(scratch / "apt.conf")}
    done = subprocess.run(command, cwd=scratch, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def extracted(scratch: Path, *packages: str) -> Path:
    """A folder with what these packages have."""
    run(scratch, "apt-get", "download", "-qq", *packages)
    unpack_all(scratch, scratch)
    return scratch / "root"


def unpack_all(scratch: Path, folder: Path) -> None:
    for package in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", package, scratch / "root"], check=True)
        package.unlink()


def kept(name: str, suite: str, architecture: str, unpack) -> Path:
    """The folder of this name, which `unpack` fills if it is not there."""
    place = KEPT / name
    if place.exists():
        return place
    scratch = KEPT / f"{name}.new"
    shutil.rmtree(scratch, ignore_errors=True)
    for folder in ("lists/partial", "archives/partial", "etc/apt.conf.d", "etc/preferences.d", "etc/trusted.gpg.d"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "status").touch()
    archive = "debian-security" if suite.endswith("-security") else "debian"
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    sources = f"deb [signed-by={keys}] http://deb.debian.org/{archive} {suite} main\n"
    (scratch / "etc/sources.list").write_text(sources)
    # An apt of its own, which sees no other suite and leaves the machine's alone. A mirror may be behind.
    (scratch / "apt.conf").write_text(
        f'Dir::State "{scratch}"; Dir::State::status "{scratch}/status"; Dir::Cache "{scratch}";\n'
        f'Dir::Etc "{scratch}/etc"; APT::Architecture "{architecture}";\n'
        f'APT::Architectures {{ "{architecture}"; }}; Acquire::Languages "none";\n'
        'Acquire::Check-Valid-Until "false"; APT::Sandbox::User "root";\n'
    )
    run(scratch, "apt-get", "update", "-qq")
    unpack(scratch)
    shutil.rmtree(scratch / "root", ignore_errors=True)
    scratch.rename(place)
    return place
