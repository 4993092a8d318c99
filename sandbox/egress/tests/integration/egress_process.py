"""A real mitmdump, started by the entrypoint as the image starts it."""

import functools
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

PROJECT = Path(__file__).parents[2]
# Far more than any step takes; a hang is what it catches.
DEADLINE = 60.0
# By itself it gives up a handshake after 10 seconds, which a busy machine may take.
websocket = functools.partial(connect, open_timeout=DEADLINE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def copy_of_the_program(directory: Path) -> Path:
    """A copy that a test may break; its entrypoint."""
    shutil.copytree(PROJECT / "egress", directory / "egress")
    return Path(shutil.copy(PROJECT / "egress_entrypoint.sh", directory))


def broken(entrypoint: Path, module: str, old: str, new: str) -> None:
    """Changes one place of the program's copy."""
    file = entrypoint.parent / "egress" / module
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


@dataclass
class EgressProcess:
    """The process, its log and its settings."""

    directory: Path
    upstream_port: int
    upstream_ca: Path
    routes: str | None
    tokens: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    entrypoint: Path = PROJECT / "egress_entrypoint.sh"

    def __post_init__(self) -> None:
        self.port = free_port()
        self.routes_file = self.directory / "routes.yaml"
        self.confdir = self.directory / "confdir"
        self.ca_file = self.directory / "ca.pem"
        self.log: list[dict[str, Any]] = []
        self.output: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        if self.routes is not None:
            self.routes_file.write_text(self.routes)

    def spawn(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "EGRESS_ROUTES_FILE": str(self.routes_file),
            "EGRESS_UPSTREAM_PROXY": f"http://127.0.0.1:{self.upstream_port}",
            "EGRESS_UPSTREAM_CA": str(self.upstream_ca),
            "EGRESS_CONFDIR": str(self.confdir),
            "EGRESS_CA_FILE": str(self.ca_file),
            "EGRESS_LISTEN_HOST": "127.0.0.1",
            "EGRESS_LISTEN_PORT": str(self.port),
        }
        self.process = subprocess.Popen(
            [self.entrypoint, *self.arguments],
            env=environment | self.tokens | self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def start(self) -> "EgressProcess":
        self.spawn()
        self.wait_for(lambda line: line["event"] == "routes-loaded")
        return self

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next line of the log that is wanted."""
        end = time.monotonic() + DEADLINE
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not in the log: {self.output}") from None
            if line is None:
                self._lines.put(None)
                raise AssertionError(f"egress has ended: {self.output}")
            self.output.append(line)
            if line.startswith("{"):
                self.log.append(json.loads(line))
                if wanted(self.log[-1]):
                    return self.log[-1]

    def wait_for_decision(self, **values: object) -> dict[str, Any]:
        return self.wait_for(
            lambda line: (
                line["event"] == "decision"
                and all(line.get(key) == value for key, value in values.items())
            )
        )

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def peak_memory(self) -> int:
        """The most memory it ever had, in MB; proc_pid_status(5), VmHWM."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) // 1024

    def wait(self) -> int:
        """The exit code of a process that ends by itself, with all it wrote in `output`."""
        code = self.process.wait(DEADLINE)
        self._reader.join()
        while not self._lines.empty():
            if line := self._lines.get():
                self.output.append(line)
        if self.process.stdout:
            self.process.stdout.close()
        return code

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"
