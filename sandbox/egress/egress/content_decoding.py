"""Takes content codings off a body that comes in pieces, in bounded memory. [pure]"""

import zlib
from collections.abc import Iterator
from typing import Protocol

import brotli  # type: ignore[import-untyped]
import zstandard

# What egress can look into; also what it lets a server answer with where it has to.
CODINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd"})
# Decoded at once; and the most that one piece of a body that is only searched may become.
_PIECE = 1 << 18
_MOST = 1 << 26
# A block of zstd's can become 128 KiB and take 4 bytes.
_ZSTD_INPUT = 64


class Undecodable(Exception):
    """A body that is not what its Content-Encoding says, or too much once it is decoded."""


class _Decoder(Protocol):
    def decode(self, data: bytes) -> Iterator[bytes]: ...


class _Zlib:
    """gzip, also of several members, and deflate, with zlib's frame and without one."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._inflate = zlib.decompressobj(bits)
        self._begun = False
        # Whether it is at the end of a member, or has not begun.
        self.complete = True

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            self.complete = False
            if not self._begun and self._bits == zlib.MAX_WBITS and data[0] & 0x0F != 8:
                # Some servers leave the frame out; its first byte names the method, which is 8.
                self._bits = -zlib.MAX_WBITS
                self._inflate = zlib.decompressobj(self._bits)
            self._begun = True
            yield self._inflate.decompress(data, _PIECE)
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                data = self._inflate.unused_data
                self.complete = True
                self._inflate = zlib.decompressobj(self._bits)
            elif not data:
                # It may hold back what did not fit.
                while more := self._inflate.decompress(b"", _PIECE):
                    yield more


class _Brotli:
    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def decode(self, data: bytes) -> Iterator[bytes]:
        piece = self._decompressor.process(data, output_buffer_limit=_PIECE)
        # It takes in all of the data, and may have more of it than it has handed out.
        while piece:
            yield piece
            piece = b""
            if not self._decompressor.is_finished():
                piece = self._decompressor.process(b"", output_buffer_limit=_PIECE)


class _Zstd:
    def __init__(self) -> None:
        # RFC 8878 recommends this much for a window.
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 23)
        self._decompressor = decompressor.decompressobj(read_across_frames=True)

    def decode(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _ZSTD_INPUT):
            yield self._decompressor.decompress(data[at : at + _ZSTD_INPUT])


def codings(value: str) -> list[str]:
    """The codings of a Content-Encoding, in the order in which they were put on."""
    named = [coding.strip().lower() for coding in value.split(",")]
    return [coding for coding in named if coding not in {"", "identity"}]


def _decoder(coding: str) -> _Decoder:
    match coding:
        case "gzip" | "x-gzip":
            return _Zlib(16 + zlib.MAX_WBITS)
        case "deflate":
            return _Zlib(zlib.MAX_WBITS)
        case "br":
            return _Brotli()
        case "zstd":
            return _Zstd()
        case _:
            raise Undecodable


class ContentDecoder:
    """All of a Content-Encoding."""

    def __init__(self, content_encoding: str) -> None:
        self._decoders = [_decoder(coding) for coding in reversed(codings(content_encoding))]

    def decode(self, data: bytes) -> Iterator[bytes]:
        """What this piece becomes, itself in pieces; raises Undecodable."""
        size = 0
        try:
            for piece in self._through(data, 0):
                size += len(piece)
                if size > _MOST:
                    raise Undecodable
                yield piece
        except (zlib.error, brotli.error, zstandard.ZstdError):
            raise Undecodable from None

    def _through(self, data: bytes, layer: int) -> Iterator[bytes]:
        if layer == len(self._decoders):
            yield data
            return
        for piece in self._decoders[layer].decode(data):
            if piece:
                yield from self._through(piece, layer + 1)


class Gunzip:
    """Takes gzip off a body that is sent on without it."""

    def __init__(self) -> None:
        self._zlib = _Zlib(16 + zlib.MAX_WBITS)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What this piece becomes, unpacked no further than it is asked for; raises Undecodable."""
        try:
            yield from self._zlib.decode(data)
        except zlib.error:
            raise Undecodable from None

    def finish(self) -> None:
        """Raises Undecodable if more should have come, for what has left would look whole."""
        if not self._zlib.complete:
            raise Undecodable
