"""What package registries and release pages serve, made up: large, and the same in each run."""

import base64
import gzip
import hashlib
import io
import json
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

HOST = "https://files.example.com"
BLOCK = random.Random(1).randbytes(1_000_000)
RELEASE_BLOCKS = 200
WHEEL_DATA = BLOCK * 20


@dataclass
class Download:
    """One file: its type, its size and its parts."""

    content_type: str
    parts: list[bytes]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)

    @property
    def size(self) -> int:
        return sum(len(part) for part in self.parts)


def tar_gz(files: dict[str, bytes]) -> bytes:
    """A gzipped tar."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), compresslevel=1, mtime=0)


def wheel() -> bytes:
    """A package of Python with one large file."""
    info = "bulk-1.0.dist-info"
    files = {
        "bulk/data.bin": WHEEL_DATA,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: bulk\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in (files | {f"{info}/RECORD": record.encode()}).items():
            archive.writestr(name, content)
    return packed.getvalue()


def image() -> bytes:
    """A PNG of noise, of some 200 KB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    width, height = 256, 260
    rows = b"".join(b"\0" + BLOCK[row * 3 * width : (row + 1) * 3 * width] for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def python_files() -> dict[str, Download]:
    """A simple index (PEP 503) with one wheel."""
    packed = wheel()
    name = "bulk-1.0-py3-none-any.whl"
    link = f'<a href="/wheels/{name}#sha256={hashlib.sha256(packed).hexdigest()}">{name}</a>'
    return {
        "/simple/bulk/": Download("text/html", [link.encode()]),
        f"/wheels/{name}": Download("application/octet-stream", [packed]),
    }


def npm_files() -> dict[str, Download]:
    """A registry of packages, each of 2 MB."""
    files = {}
    for name in ("bulk-one", "bulk-two", "bulk-three"):
        about = {"name": name, "version": "1.0.0"}
        content = {"package/package.json": json.dumps(about).encode()}
        packed = tar_gz(content | {"package/data.bin": BLOCK * 2})
        integrity = base64.b64encode(hashlib.sha512(packed).digest()).decode()
        place = f"/npm/{name}/-/{name}-1.0.0.tgz"
        version = about | {"dist": {"tarball": f"{HOST}{place}", "integrity": f"sha512-{integrity}"}}
        known = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        files[f"/npm/{name}"] = Download("application/json", [json.dumps(known).encode()])
        files[place] = Download("application/octet-stream", [packed])
    return files


def cargo_files() -> dict[str, Download]:
    """A sparse registry with one crate of 6 MB."""
    manifest = b'[package]\nname = "bulk"\nversion = "1.0.0"\nedition = "2021"\n'
    content = {"bulk-1.0.0/Cargo.toml": manifest, "bulk-1.0.0/src/lib.rs": b""}
    packed = tar_gz(content | {"bulk-1.0.0/data.bin": BLOCK * 6})
    entry = {"name": "bulk", "vers": "1.0.0", "deps": [], "features": {}, "yanked": False}
    entry["cksum"] = hashlib.sha256(packed).hexdigest()
    return {
        "/index/config.json": Download("application/json", [b'{"dl": "%s/crates"}' % HOST.encode()]),
        "/index/bu/lk/bulk": Download("text/plain", [json.dumps(entry).encode()]),
        "/crates/bulk/1.0.0/download": Download("application/octet-stream", [packed]),
    }


def all_files() -> dict[str, Download]:
    """By their paths."""
    release = Download("application/octet-stream", [BLOCK] * RELEASE_BLOCKS)
    fixed = {"/release.bin": release, "/v1/image.png": Download("image/png", [image()])}
    return fixed | python_files() | npm_files() | cargo_files()
