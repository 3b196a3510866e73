"""A broker of one's own and processes around it, for the tests of the tool."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time


class Scene:
    """Programs in a folder that vanishes with them. Arguments: sluice, sluiced, known_stream."""

    def __init__(self, argv):
        self.sluice, self.sluiced, self.known_stream = argv[1:4]
        self.folder = tempfile.TemporaryDirectory(prefix="sluice-tools-")
        self.path = pathlib.Path(self.folder.name)
        self.socket = str(self.path / "sluiced.sock")
        self.environment = {**os.environ, "SLUICE_SOCKET": self.socket, "LC_ALL": "C.UTF-8"}
        for name in ("COLUMNS", "LINES"):
            self.environment.pop(name, None)
        self.processes = []
        self.broker = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait()
        self.folder.cleanup()

    def start_broker(self):
        self.broker = self.start([self.sluiced, "--socket", self.socket, "--log-level", "warning"])
        self.wait_for(lambda: self.run("ls", "--wait", "5").returncode == 0, "the broker")

    def stop_broker(self):
        self.broker.kill()
        self.broker.wait()

    def start(self, command, **more):
        process = subprocess.Popen(command, env=self.environment, **more)
        self.processes.append(process)
        return process

    def known(self, *words):
        """Starts a known_stream and waits until it is ready."""
        process = self.start([self.known_stream, *map(str, words)], stdout=subprocess.PIPE, text=True)
        line = process.stdout.readline()
        check(line == "ready\n", f"known_stream {words} said {line!r}")
        return process

    def start_known(self, *words):
        return self.start([self.known_stream, *map(str, words)], stdout=subprocess.DEVNULL)

    def run(self, *words, timeout=30, given=""):
        """`given`: on standard input."""
        return subprocess.run(
            [self.sluice, *map(str, words)], env=self.environment, cwd=self.path, timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, input=given, text=True,
        )  # fmt: skip

    def tool(self, *words):
        """Starts a verb that goes on."""
        return self.start([self.sluice, *map(str, words)], cwd=self.path, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip

    def text(self, *words, code=0, given=""):
        """What a verb says, and that it ends with this code."""
        result = self.run(*words, given=given)
        check(result.returncode == code, f"{words} ended with {result.returncode}: {result.stderr}")
        return result.stdout if code == 0 else result.stderr

    def json(self, *words):
        return [json.loads(line) for line in self.text(*words).splitlines()]

    @staticmethod
    def wait_for(condition, what, seconds=20):
        deadline = time.monotonic() + seconds
        while True:
            answer = condition()
            if answer:
                return answer
            check(time.monotonic() < deadline, f"waited for {what} in vain")
            time.sleep(0.05)


def check(condition, sentence):
    if not condition:
        print(f"FAILED: {sentence}", file=sys.stderr)
        raise SystemExit(1)


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=20)
