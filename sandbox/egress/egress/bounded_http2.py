"""mitmproxy's HTTP/2, with an end to what one connection can make it keep."""

import h2.config
import h2.errors
import h2.events
import h2.exceptions
from h2.settings import SettingCodes
from hyperframe.frame import Frame, SettingsFrame
from mitmproxy.proxy import context, layer
from mitmproxy.proxy.events import Event
from mitmproxy.proxy.layers import http as http_layer
from mitmproxy.proxy.layers.http import _http2
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

from egress import connections
from egress.limits import MAX_HEAD

# A header list up to here is decoded, and answered with 431 if it is longer than MAX_HEAD; a longer
# one ends the connection.
_MAX_DECODED = 2 * MAX_HEAD
# The smallest that there is: a head in 65 of mitmproxy's frames of 128 KiB would have 8 MB.
_MAX_FRAME = 16384
_MAX_RESETS = 100
# Twice as many as there can be streams at a time: a short answer and its end.
_MANY_CHUNKS = 200
_KNOWN_SETTINGS = frozenset(SettingCodes)


class BoundedH2Connection(BufferedH2Connection):
    """The frames."""

    # h2 remembers so many streams after their end: 65536 of them are some MB for each connection.
    MAX_CLOSED_STREAMS = 1000

    def __init__(self, config: h2.config.H2Configuration) -> None:
        super().__init__(config)
        self.local_settings.max_frame_size = self.max_inbound_frame_size = _MAX_FRAME
        self.local_settings.max_header_list_size = MAX_HEAD
        self.local_settings.acknowledge()
        self.decoder.max_header_list_size = _MAX_DECODED

    def receive_data(self, data: bytes) -> list[h2.events.Event]:
        """Refuses a head before its end is here."""
        received: list[h2.events.Event] = super().receive_data(data)
        head = self.incoming_buffer._headers_buffer
        if sum(len(frame.data) for frame in head) > _MAX_DECODED:
            raise h2.exceptions.DenialOfServiceError("the head is too long")
        return received

    def _receive_settings_frame(
        self, frame: SettingsFrame
    ) -> tuple[list[Frame], list[h2.events.Event]]:
        # To be ignored (RFC 9113, section 6.5.2); h2 keeps each of 65536.
        for unknown in frame.settings.keys() - _KNOWN_SETTINGS:
            del frame.settings[unknown]
        return super()._receive_settings_frame(frame)


class BoundedHttp2Server(_http2.Http2Server):
    """The client's side."""

    def __init__(self, context: context.Context) -> None:
        super().__init__(context)
        self._requests = self._resets = 0

    def _handle_event(self, event: Event) -> layer.CommandGenerator[None]:
        yield from super()._handle_event(event)
        # A long answer that the client takes slowly. A few short ones don't count, for who has no
        # permission gets them too.
        if sum(map(len, self.h2_conn.stream_buffers.values())) > _MANY_CHUNKS:
            connections.begin(self.context.client, self)
        else:
            connections.end(self.context.client, self)

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        """Ends a connection on which most requests are taken back before they are answered.

        They escape the limit of streams at a time (CVE-2023-44487).
        """
        if isinstance(event, h2.events.RequestReceived):
            self._requests += 1
        elif isinstance(event, h2.events.StreamReset):
            self._resets += 1
            if self._resets > _MAX_RESETS and self._resets > self._requests // 2:
                yield from self.protocol_error(
                    "too many requests are taken back", h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
                )
                return True
        return (yield from super().handle_h2_event(event))


def install() -> None:
    """Applies it to every connection from now on."""
    _http2.BufferedH2Connection = BoundedH2Connection  # type: ignore[attr-defined]
    http_layer.Http2Server = BoundedHttp2Server  # type: ignore[attr-defined]
