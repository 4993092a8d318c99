import string
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.target import MalformedTarget, parse_target

SEGMENT = st.text(string.ascii_letters + string.digits + "-_~@:", min_size=1, max_size=8)
PATH = st.lists(SEGMENT, max_size=5).map(lambda segments: "/" + "/".join(segments))


@pytest.mark.parametrize(
    "target",
    [
        *("/v1/../admin", "/v1/./x", "/..", "/v1/..", "/v1/%2e%2e/admin", "/v1/.%2E/admin"),
        *("/v1/%252e%252e/admin", "/v1/%25252e%25252e/x", "/v1/..%2fadmin", "/v1/%2e%2e%2fadmin"),
        *("/v1/..;/admin", "/v1/..;x=y/admin", "/v1/%2e%2e%3b/admin", "/v1/.;/admin"),
        *("/v1/..\\admin", "/v1/..%5cadmin", "/v1\\..\\admin", "/v1/..%20/admin", "/v1//../admin"),
        *("/v1/%00", "/v1/%0d%0aX:y", "/v1/%7f", "/v1/%2500", "/v1/%zz", "/v1/%", "/v1/%2"),
        *("/v1/%c0%ae%c0%ae/admin", "/v1/%ff", "/v1/%u002e", "/v1/é", "/v1/a b", "/v1/\t", "/v1#x"),
        *("", "*", "v1/", "http://x/", "?x", "/%" + "25" * 20 + "41", "/x?" + "%" + "25" * 20),
    ],
)
def test_what_servers_could_read_differently_is_refused(target: str) -> None:
    with pytest.raises(MalformedTarget):
        parse_target(target)


@pytest.mark.parametrize(
    "target",
    [
        *("/", "/v1/", "/v1/a.b/..c/c../...", "/@scope%2fname", "/a%20b", "/100%25", "/%C3%A9"),
        *("/a;b=c/d", "/v1?x=../..", "/v1?x=%zz", "/v1?next=https%3A%2F%2Fx%2F%3Fy%3D%2520"),
        *("//", "/v1//x", "/search?q=a+b&x=%ff", "/~user/", "/a:b@c/$d!e'f(g)*h,i"),
    ],
)
def test_usual_targets_are_taken(target: str) -> None:
    assert parse_target(target).path == target.partition("?")[0]


@pytest.mark.parametrize(
    ("target", "prefix", "below"),
    [
        ("/v1/x", "/v1/", True),
        ("/v1/", "/v1/", True),
        ("/v1", "/v1/", False),
        ("/v1", "/v1", True),
        ("/v1/x", "/v1", True),
        ("/v1?x", "/v1", True),
        ("/v1admin", "/v1", False),
        ("/V1/x", "/v1/", False),
        ("//v1/x", "/v1/", False),
        ("/x/v1/", "/v1/", False),
        ("/v1//x", "/v1/", True),
        ("/%761/x", "/v1/", False),
        ("/v1%2fx", "/v1/", False),
        ("/v1%2fx", "/v1", False),
        ("/v1;x/y", "/v1/", False),
        ("/v1/a%2fb", "/v1/", True),
        ("/v1/a;b", "/v1/", True),
        ("/v1\\x", "/v1", False),
    ],
)
def test_a_path_is_below_a_prefix_only_in_every_reading(
    target: str, prefix: str, below: bool
) -> None:
    assert parse_target(target).below(prefix) is below


@given(PATH, PATH, st.integers(0, 2))
def test_no_encoding_of_a_way_up_is_taken(before: str, after: str, layers: int) -> None:
    up = "%2e%2e"
    for _ in range(layers):
        up = quote(up)
    with pytest.raises(MalformedTarget):
        parse_target(f"{before}/{up}{after}")


@given(st.text(string.printable, max_size=40), st.sampled_from(["/v1/", "/v1", "/"]))
def test_what_is_below_stays_below_when_a_server_decodes_it(tail: str, prefix: str) -> None:
    try:
        target = parse_target("/v1/" + tail.partition("?")[0].replace(" ", "%20"))
    except MalformedTarget:
        return
    assert target.below(prefix)
    for reading in target.readings:
        assert reading.startswith("/v1/")
        assert ".." not in reading.split("/")


@pytest.mark.parametrize(
    "target",
    [
        *("/r.git/git-receive-pack", "/r.git/info/refs?service=git-receive-pack"),
        *("/r.git/GIT-Receive-Pack", "/r.git/info/refs?Service=Git-Receive-Pack"),
        *("/r.git/git%2Dreceive%2dpack", "/r.git/%67it-receive-pack", "/r/git%252dreceive-pack"),
        *(
            "/r.git/info/refs?service=git%2dreceive-pack",
            "/r.git/info/refs?a=b&service=%67it-receive-pack",
        ),
        *(
            "/r.git/info/refs?service=git%252Dreceive-pack",
            "/r.git//git-receive-pack/",
            "/r/git-receive-pack;x",
        ),
    ],
)
def test_a_git_push_is_seen_in_every_spelling(target: str) -> None:
    assert parse_target(target).is_git_push


def test_a_git_fetch_is_no_push() -> None:
    assert not parse_target("/r.git/info/refs?service=git-upload-pack").is_git_push
    assert not parse_target("/r.git/git-upload-pack").is_git_push


@pytest.mark.parametrize("key", ["access_token", "API_KEY", "api-key", "%61pikey", "private_token"])
def test_a_credential_in_the_query_is_seen(key: str) -> None:
    assert parse_target(f"/v1?a=b&{key}=x").has_credential_besides()
    assert parse_target(f"/v1?a=b;{key}=x").has_credential_besides()
    assert not parse_target(f"/{key}?page={key}").has_credential_besides()
    assert not parse_target(f"/v1?{key}=x").has_credential_besides(unquote(key).upper())
