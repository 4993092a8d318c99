import os
from pathlib import Path

import pytest

from egress.routes import Auth
from egress.token_sources import Tokens, TokenSources

SECRET = "s3cret-value"
NAME = "EGRESS_TOKEN_1"


def value(tokens: Tokens) -> str:
    assert tokens.problems == {}
    header = tokens.credentials.header(Auth("header", NAME, header="x-api-key"))
    assert header is not None
    return header[1]


def problem(sources: TokenSources) -> str:
    tokens = sources.read([NAME])
    assert SECRET not in str(tokens)
    return tokens.problems[NAME]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(SECRET)
    path.chmod(0o400)
    return path


def test_the_tokens_leave_the_environment(file: Path) -> None:
    environment = {NAME: SECRET, "EGRESS_TOKEN_FILE_B": str(file), "PATH": "/bin"}
    sources = TokenSources.take_from(environment, None)
    assert environment == {"PATH": "/bin"}
    assert value(sources.read([NAME])) == SECRET
    assert sources.read(["EGRESS_TOKEN_B"]).problems == {}
    assert SECRET not in repr(sources)
    assert not hasattr(sources, "__dict__")


def test_a_token_is_in_the_file_that_is_named_or_in_the_one_of_its_name(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("from the directory")
    assert value(TokenSources({}, {}, tmp_path).read([NAME])) == "from the directory"
    assert value(TokenSources({}, {NAME: tmp_path / NAME}).read([NAME])) == "from the directory"


@pytest.mark.parametrize(
    ("content", "token"),
    [("x\n", "x"), ("x", "x"), ("x\n\n", "x\n"), ("x\r\n", "x\r"), ("\nx", "\nx"), (" x ", " x ")],
)
def test_exactly_one_newline_at_the_end_is_removed(file: Path, content: str, token: str) -> None:
    file.chmod(0o600)
    file.write_bytes(content.encode())
    assert value(TokenSources({}, {NAME: file}).read([NAME])) == token


def test_a_file_is_read_anew_each_time_also_behind_a_link(tmp_path: Path) -> None:
    # As Kubernetes changes a secret: the link to the directory is replaced.
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / NAME).write_text(name)
    (tmp_path / "data").symlink_to("old")
    (tmp_path / NAME).symlink_to(f"data/{NAME}")
    sources = TokenSources({}, {}, tmp_path)
    assert value(sources.read([NAME])) == "old"
    (tmp_path / "other").symlink_to("new")
    (tmp_path / "other").rename(tmp_path / "data")
    assert value(sources.read([NAME])) == "new"


def test_what_can_not_be_had_is_told_with_the_file_and_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "key"
    sources = TokenSources({}, {NAME: path})
    assert problem(sources) == f"its file {path} is missing; write the token into it"
    for content in ("", "\n"):
        path.write_text(content)
        assert problem(sources) == f"its file {path} is empty; write the token into it"
    path.write_text("x" * 65537)
    assert "is larger than 65536 bytes" in problem(sources)
    path.unlink()
    path.mkdir()
    assert f"its file {path} is no regular file" in problem(sources)
    path.rmdir()
    # Nobody writes into it, and nothing waits for that.
    os.mkfifo(path)
    assert f"its file {path} is no regular file" in problem(sources)
    path.unlink()
    path.symlink_to(path)
    assert f"its file {path} can't be read: Too many levels of symbolic links" in problem(sources)
    assert problem(TokenSources({}, {}, tmp_path)) == (
        f"there is no file {tmp_path}/{NAME}, and EGRESS_TOKEN_FILE_1 is not set;"
        " write the token into a file and name it there"
    )
    (tmp_path / NAME).symlink_to("nowhere")
    assert problem(TokenSources({}, {}, tmp_path)).startswith(f"its file {tmp_path}/{NAME} is miss")


def test_a_token_from_two_places_is_an_error(tmp_path: Path, file: Path) -> None:
    (tmp_path / NAME).write_text(SECRET)
    both = problem(TokenSources({NAME: SECRET}, {NAME: file}))
    assert both == (
        "it comes from the variable EGRESS_TOKEN_FILE_1 and the variable EGRESS_TOKEN_1;"
        " keep one of them"
    )
    all_three = problem(TokenSources({NAME: SECRET}, {NAME: file}, tmp_path))
    assert f"the file {tmp_path}/{NAME} and " in all_three


def test_a_file_that_all_may_read_is_a_warning(file: Path) -> None:
    sources = TokenSources({}, {NAME: file})
    assert sources.read([NAME]).warnings == ()
    file.chmod(0o444)
    tokens = sources.read([NAME])
    assert value(tokens) == SECRET
    ((name, told, message),) = tokens.warnings
    assert (name, told) == (NAME, str(file))
    assert message == "everybody may read it (mode 0444); chmod 400 it if you can"
