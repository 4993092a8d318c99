"""GitHub as its clients gh and git see it, with one private repository, example/app, made up.

What has no credential, or another one than TOKEN, is told so as GitHub tells it. The file of a
release is with another host, where the client is sent.
"""

import asyncio
import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

API = "api.github.com"
GIT = "github.com"
RELEASE = "https://files.example.com/release.bin"
# What egress has, and the agent has not.
TOKEN = "t0ken-of-the-operator"
REPOSITORIES = Path("/srv/forge")
# So many that a client's wishes are more than it sends uncompressed.
BRANCHES = 60

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
JSON = [(b"content-type", b"application/json; charset=utf-8")]
MAKE = (
    "git init --quiet --bare --initial-branch=main . && "
    "git fast-import --quiet && git config http.receivepack true"
)


def make_repository() -> None:
    """A branch main, and others; each has a file and a commit of its own."""
    place = REPOSITORIES / "example/app.git"
    place.mkdir(parents=True)
    stream = ""
    for branch in ["main", *(f"branch-{number}" for number in range(BRANCHES))]:
        stream += f"commit refs/heads/{branch}\ncommitter A <a@example.com> 1700000000 +0000\n"
        stream += f"data {len(branch)}\n{branch}\nM 644 inline {branch}.txt\n"
        stream += f"data {len(branch)}\n{branch}\n\n"
    subprocess.run(["sh", "-c", MAKE], cwd=place, input=stream.encode(), check=True)


async def answer(host: str, scope: dict[str, Any], text: bytes) -> Answer:
    """To one request, whose body is this."""
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    if host == GIT:
        return await git(scope, headers, text)
    return api(scope["path"], scope["method"], headers, text)


def is_known(headers: dict[str, str]) -> bool:
    """Whether the credential is the real one, in one of the ways in which GitHub takes it."""
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme == "Basic":
        return base64.b64decode(rest).decode().partition(":")[2] == TOKEN
    return scheme in ("token", "Bearer") and rest == TOKEN


def api(path: str, method: str, headers: dict[str, str], text: bytes) -> Answer:
    """The REST and GraphQL API."""
    if not is_known(headers):
        return 401, JSON, b'{"message": "Bad credentials"}'
    release = f"https://{API}/repos/example/app/releases"
    asset = {"id": 1, "name": "release.bin", "size": 200_000_000, "url": f"{release}/assets/1"}
    asset["state"] = "uploaded"
    known: dict[str, Any] = {
        "/user": {"login": "operator"},
        "/repos/example/app/releases/tags/v1": {
            "id": 1,
            "tag_name": "v1",
            "url": f"{release}/1",
            "assets": [asset],
        },
    }
    if path == "/repos/example/app/releases/assets/1":
        return 302, [(b"location", RELEASE.encode())], b""
    if path == "/repos/example/app/issues" and method == "GET":
        return 200, JSON, b'[{"number": 1, "title": "first"}]'
    if path == "/repos/example/app/issues":
        return 201, JSON, json.dumps({"number": 1, "title": json.loads(text)["title"]}).encode()
    if path == "/graphql":
        return 200, JSON, json.dumps({"data": graphql(json.loads(text)["query"])}).encode()
    if path in known:
        return 200, JSON, json.dumps(known[path]).encode()
    return 404, JSON, b'{"message": "Not Found"}'


def graphql(query: str) -> dict[str, Any]:
    """What gh asks of a repository."""
    if "pullRequests" in query:
        request = {"number": 7, "title": "a change"}
        page = {"hasNextPage": False, "endCursor": ""}
        found = {"totalCount": 1, "nodes": [request], "pageInfo": page}
        return {"repository": {"pullRequests": found}}
    if "release(tagName" in query:
        # gh asks for a draft by GraphQL while it asks for a release by REST, and takes what comes
        # first; GitHub answers null where there is no draft.
        return {"repository": {"release": None}}
    owner = {"id": "1", "login": "example"}
    about: dict[str, Any] = {"id": "2", "name": "app", "owner": owner, "viewerPermission": "WRITE"}
    about |= {"hasWikiEnabled": False, "hasIssuesEnabled": True, "parent": None, "isPrivate": True}
    about |= {"mergeCommitAllowed": True, "rebaseMergeAllowed": True, "squashMergeAllowed": True}
    return {"repository": about | {"defaultBranchRef": {"name": "main"}}}


async def git(scope: dict[str, Any], headers: dict[str, str], text: bytes) -> Answer:
    """The repository, by git's own server."""
    if not is_known(headers):
        return 401, [(b"www-authenticate", b'Basic realm="GitHub"')], b"no access\n"
    variables = {
        "GIT_PROJECT_ROOT": str(REPOSITORIES),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": scope["path"],
        "PATH": os.environ["PATH"],
        "REQUEST_METHOD": scope["method"],
        "QUERY_STRING": scope["query_string"].decode(),
        "REMOTE_USER": "operator",
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(text)),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        "GIT_PROTOCOL": headers.get("git-protocol", ""),
    }
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(
        "git", "http-backend", env=variables, stdin=pipe, stdout=pipe
    )
    said, _ = await server.communicate(text)
    head, _, answer = said.partition(b"\r\n\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in lines(head)]
    status = next((int(value[:3]) for name, value in fields if name == b"status"), 200)
    return status, [field for field in fields if field[0] != b"status"], answer


def lines(head: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The fields of a head."""
    return [line.partition(b":") for line in head.split(b"\r\n")]
