import io
import json
from pathlib import Path

import pytest

from egress.active_routes import ActiveRoutes
from egress.log import Log
from egress.routes_file import BadRoutes
from egress.token_sources import TokenSources

ONE = "routes:\n  - host: a.example\n"
WITH_TOKEN = "routes:\n  - host: b.example\n    auth: {scheme: bearer, token_env: EGRESS_TOKEN_1}\n"


def hosts(active: ActiveRoutes) -> list[str]:
    return [route.host for route in active.routes.routes]


def active_routes(file: Path, stream: io.StringIO, token: str = "") -> ActiveRoutes:
    return ActiveRoutes(file, TokenSources({"EGRESS_TOKEN_1": token}), Log(stream))


def test_everything_is_denied_until_the_first_load(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(ONE)
    active = active_routes(file, io.StringIO())
    assert hosts(active) == []
    active.load()
    assert hosts(active) == ["a.example"]


@pytest.mark.parametrize(
    ("text", "logged"),
    [
        ("routes: [", "routes.yaml:1:10: is not YAML"),
        ("routes:\n  - host: 1\n", "routes.yaml:2:11: this has to be a text"),
        (
            WITH_TOKEN,
            "routes.yaml:3:39: the route for b.example needs EGRESS_TOKEN_1: the variable"
            " EGRESS_TOKEN_1 is empty; set EGRESS_TOKEN_FILE_1 in its place",
        ),
    ],
)
def test_a_bad_file_keeps_the_old_routes_and_is_logged(
    tmp_path: Path, text: str, logged: str
) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(ONE)
    stream = io.StringIO()
    active = active_routes(file, stream)
    active.load()
    file.write_text(text)
    active.reload()
    assert hosts(active) == ["a.example"]
    last = json.loads(stream.getvalue().splitlines()[-1])
    assert last["event"] == "reload-failed"
    assert logged in last["message"]
    assert active.reload_error is not None
    file.write_text(ONE.replace("a.example", "c.example"))
    active.reload()
    assert hosts(active) == ["c.example"]
    assert active.reload_error is None


def test_a_token_of_several_routes_that_is_missing_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(WITH_TOKEN + WITH_TOKEN.removeprefix("routes:\n").replace("b.ex", "c.ex"))
    with pytest.raises(BadRoutes) as raised:
        active_routes(file, io.StringIO()).load()
    (problem,) = raised.value.problems
    assert problem.message.startswith("the route for b.example needs EGRESS_TOKEN_1: ")


def test_a_failure_of_our_own_keeps_the_old_routes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(ONE)
    stream = io.StringIO()
    active = active_routes(file, stream)
    active.load()

    def fail() -> None:
        raise RuntimeError("s3cret")

    monkeypatch.setattr(active, "read", fail)
    active.reload()
    assert hosts(active) == ["a.example"]
    assert "s3cret" not in stream.getvalue()


def test_a_file_that_has_gone_or_is_empty_denies_all(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(ONE)
    active = active_routes(file, io.StringIO())
    active.load()
    file.unlink()
    active.reload()
    assert hosts(active) == []
    assert active.note == f"{file} does not exist: everything is denied"


def test_a_file_that_took_the_places_of_another_is_read(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(ONE)
    active = active_routes(file, io.StringIO())
    active.load()
    other = tmp_path / "other"
    other.write_text(ONE.replace("a.example", "c.example"))
    other.rename(file)
    active.reload()
    assert hosts(active) == ["c.example"]


def test_the_first_load_of_a_bad_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text("routes: {}")
    with pytest.raises(BadRoutes):
        active_routes(file, io.StringIO()).load()
