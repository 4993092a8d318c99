import io
import json
import logging

from egress.log import Log, MitmproxyLog, place, without_quotes
from egress.log_rate import BURST, RATE, LogRate


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json() -> None:
    stream = io.StringIO()
    Log(stream).write("decision", host="a\r\nb\u2028", port=443, route=None)
    (line,) = lines(stream)
    assert line.pop("time")
    assert line == {"event": "decision", "host": "a\r\nb\u2028", "port": 443}
    assert stream.getvalue().count("\n") == 1


def test_no_value_is_long() -> None:
    stream = io.StringIO()
    Log(stream).write("decision", path="/" + "x" * 100_000)
    assert len(stream.getvalue()) < 1000


def test_what_mitmproxy_quotes_is_not_repeated() -> None:
    text = "Bad HTTP request line: b'GET /?k=s3cret HTTP/1.1' and \"s3cret\""
    assert "s3cret" not in without_quotes(text)


def test_an_exceptions_place_is_shown_but_not_its_text() -> None:
    stream = io.StringIO()
    handler = MitmproxyLog(Log(stream))
    try:
        raise ValueError("s3cret")
    except ValueError as error:
        raised = error
    assert "s3cret" not in place(raised)
    info = (ValueError, raised, raised.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "mitmproxy has crashed!", (), info)
    handler.emit(record)
    (line,) = lines(stream)
    assert line["message"] == "mitmproxy has crashed!"
    assert str(line["error"]).startswith("ValueError at ")
    assert "test_log.py" in str(line["error"])
    assert "s3cret" not in stream.getvalue()


def test_refusals_without_end_are_counted() -> None:
    now = [0.0]
    stream = io.StringIO()
    log = Log(stream, LogRate(lambda: now[0]))
    for _ in range(int(BURST) + 500):
        log.write("decision", decision="deny")
    log.write("decision", decision="allow")
    written = lines(stream)
    assert len(written) == int(BURST) + 2
    assert written[-2]["event"] == "log-limited"
    assert written[-1]["decision"] == "allow"
    now[0] = 1.0
    for _ in range(int(RATE)):
        log.write("mitmproxy", message="x")
    resumed = lines(stream)[len(written) :]
    assert [line["event"] for line in resumed] == ["log-limited", *["mitmproxy"] * int(RATE)]
    assert resumed[0]["left_out"] == 500
