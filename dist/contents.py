"""What is inside a binary of dist/build: its crates, Rust's standard library and musl."""

import json
import os
import re
import subprocess
import tomllib
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ROOT / "dist" / "licences"
# rustc's own name for the parts of its library that have no version and no licence of their own.
OF_RUST = re.compile(r"alloc|core|panic_abort|rustc-std-workspace-.*|std|std_detect|sysroot|unwind")


@dataclass(frozen=True, order=True)
class Part:
    name: str
    version: str
    licence: str
    texts: tuple[Path, ...] = field(default=(), compare=False)
    # The SHA-256 of the crate, where it is one of crates.io.
    checksum: str | None = None


def said_by(*command: str, **options: str) -> str:
    environment = os.environ | options
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def linked(manifest: Path, package: str, target: str, **options: str) -> set[tuple[str, str, str]]:
    """Name, version and licence of each crate that is linked into the package."""
    tree = said_by(
        "cargo", "tree", "--locked", "--manifest-path", str(manifest), "--package", package, "--target", target,
        "--edges", "normal,no-proc-macro", "--no-dedupe", "--prefix", "none", "--format", "{p}\t{l}", **options,
    )  # fmt: skip
    crates = set()
    for line in tree.splitlines():
        crate, licence = line.split("\t")
        name, version = crate.split(" ")[:2]
        crates.add((name, version.removeprefix("v"), licence))
    return crates


def checksums(lock: Path) -> dict[tuple[str, str], str]:
    packages = tomllib.loads(lock.read_text())["package"]
    return {(one["name"], one["version"]): one["checksum"] for one in packages if "checksum" in one}


def texts_of(source: Path) -> tuple[Path, ...]:
    """The licence's texts: of a crate that offers several licences, MIT's."""
    texts = [path for path in sorted(source.iterdir()) if re.match(r"(?i)licen[cs]e|copying|unlicense", path.name)]
    mit = [path for path in texts if re.search(r"(?i)mit", path.name)]
    if not texts:
        raise SystemExit(f"dist: {source} has no text of its licence")
    return tuple(path for path in mit or texts if path.is_file())


def parts(target: str) -> list[Part]:
    sources = sources_of_crates()
    library = Path(said_by("rustc", "--print", "sysroot").strip()) / "lib/rustlib/src/rust/library"
    # What of the standard library's crates is linked. A stable cargo reads its manifests if it is told so.
    of_library = linked(library / "std/Cargo.toml", "std", target, RUSTC_BOOTSTRAP="1")
    rust = said_by("rustc", "--version").split()[1]
    found = {
        Part("rust-std", rust, "MIT OR Apache-2.0", (TEXTS / "rust.txt",)),
        Part("musl", version_of_musl(target), "MIT", (TEXTS / "musl.txt",)),
    }
    of_init = linked(ROOT / "Cargo.toml", "sidecar-init", target)
    known = checksums(ROOT / "Cargo.lock") | checksums(library / "Cargo.lock")
    for name, version, licence in of_init | of_library:
        crate = (name, version)
        if name == "compiler_builtins":
            found.add(Part(name, version, licence, texts_of(library / "compiler-builtins")))
        elif crate in known:
            source = sources / f"{name}-{version}"
            found.add(Part(name, version, licence, texts_of(source), known[crate]))
        elif (name, version, licence) in of_init:
            found.add(Part(name, version, licence, (ROOT / "LICENSE",)))
        elif not OF_RUST.fullmatch(name):
            raise SystemExit(f"dist: the standard library has {name}, and its licence is not known")
    return sorted(found)


def sources_of_crates() -> Path:
    metadata = json.loads(said_by("cargo", "metadata", "--locked", "--format-version", "1"))
    return next(
        Path(one["manifest_path"]).parent.parent for one in metadata["packages"] if one["name"] == "libc"
    )


def version_of_musl(target: str) -> str:
    library = Path(said_by("rustc", "--print", "target-libdir", "--target", target).strip())
    archive = (library / "self-contained/libc.a").read_bytes()
    return re.search(rb"\0(1\.\d+\.\d+)\0", archive)[1].decode()


def licences(inside: list[Part]) -> str:
    """The texts of all licences, each once."""
    users: dict[str, list[str]] = {}
    for part in inside:
        for path in part.texts:
            users.setdefault(path.read_text().strip(), []).append(f"{part.name} {part.version} ({part.licence})")
    chapters = ["\n".join(names) + "\n\n" + text for text, names in users.items()]
    return ("\n\n" + "-" * 78 + "\n\n").join(chapters) + "\n"


def spdx(name: str, version: str, inside: list[Part], made: int) -> str:
    """The list in the form of SPDX 2.3."""

    def identity(part: Part) -> str:
        return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.]", "-", f"{part.name}-{part.version}")

    def package(part: Part) -> dict[str, object]:
        described: dict[str, object] = {
            "SPDXID": identity(part),
            "name": part.name,
            "versionInfo": part.version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": part.licence.replace("/", " OR "),
            "copyrightText": "NOASSERTION",
        }
        if part.checksum:
            place = f"https://crates.io/api/v1/crates/{part.name}/{part.version}/download"
            described["downloadLocation"] = place
            described["checksums"] = [{"algorithm": "SHA256", "checksumValue": part.checksum}]
            described["externalRefs"] = [
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": f"pkg:cargo/{part.name}@{part.version}",
                }
            ]
        return described

    [whole] = [identity(part) for part in inside if part.name == "sidecar-init"]
    links = [("SPDXRef-DOCUMENT", "DESCRIBES", whole)]
    links += [(whole, "CONTAINS", identity(part)) for part in inside if identity(part) != whole]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/{name}",
        "creationInfo": {
            "created": datetime.fromtimestamp(made, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": [f"Tool: sidecar-init-dist-{version}"],
        },
        "packages": [package(part) for part in inside],
        "relationships": [
            {"spdxElementId": one, "relationshipType": link, "relatedSpdxElement": other}
            for one, link, other in links
        ],
    }
    return json.dumps(document, indent=1) + "\n"
