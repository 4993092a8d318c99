import pytest

from egress.mitmproxy_options import REQUIRED, TESTED_VERSION, Option, option_problems, upstream_of

GOOD = {name: Option(value, None) for name, value in REQUIRED.items()} | {
    "mode": Option(["upstream:http://127.0.0.1:8888"], ["regular"]),
    "ssl_verify_upstream_trusted_ca": Option("/ca.pem", None),
    "scripts": Option(["/app/egress/script.py"], []),
    "confdir": Option("/conf", "~/.mitmproxy"),
    "ssl_insecure": Option(False, False),
    "ignore_hosts": Option([], []),
}


def problems(**changed: object) -> list[str]:
    options = GOOD | {name: Option(value, GOOD[name].default) for name, value in changed.items()}
    return option_problems(options, {}, TESTED_VERSION)


def test_the_entrypoints_options_are_fine() -> None:
    assert problems() == []


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_required_option_with_another_value_or_none_is_refused(name: str) -> None:
    (problem,) = problems(**{name: "other"})
    assert f'"{name}" has to be' in problem
    without = {key: option for key, option in GOOD.items() if key != name}
    assert option_problems(without, {}, TESTED_VERSION) == [problem]


def test_any_other_change_is_refused() -> None:
    assert problems(ssl_insecure=True) == [
        'mitmproxy\'s option "ssl_insecure" may not be changed; remove it'
    ]
    assert problems(ignore_hosts=[".*"])
    assert problems(scripts=["/app/egress/script.py", "/tmp/other.py"])
    assert problems(ssl_verify_upstream_trusted_ca=None)


def test_an_option_that_is_none_is_refused() -> None:
    assert option_problems(GOOD, {"rawtpc": "false"}, TESTED_VERSION) == [
        'mitmproxy has no option "rawtpc"; remove it'
    ]


def test_another_mitmproxy_is_refused() -> None:
    (problem,) = option_problems(GOOD, {}, "13.0.0")
    assert "13.0.0" in problem


@pytest.mark.parametrize(
    "mode",
    [
        *(["regular"], [], ["upstream:http://a:1", "regular"], ["upstream:https://a:1"]),
        *(["upstream:http://a"], ["upstream:http://a:1@9000"], ["transparent"], None, "regular"),
    ],
)
def test_the_only_mode_is_an_upstream_proxy(mode: object) -> None:
    assert upstream_of(mode) is None
    assert problems(mode=mode)


def test_the_upstreams_address_is_taken_from_the_mode() -> None:
    assert upstream_of(["upstream:http://pipelock:8888"]) == ("pipelock", 8888)
