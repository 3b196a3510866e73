"""What the broker and the recorder ask of the kernel is what the filters of their units let through.

    system_calls_test.py FOLDER_OF_UNITS SLUICE SLUICED SLUICE_RECORDER

Both are traced (strace) from their start over messages, a reload and a broker that is started again to their end, and each
call is looked for in SystemCallFilter=, with the groups as systemd-analyze expands them. Skipped where these are not.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

units, sluice, sluiced, recorder = pathlib.Path(sys.argv[1]), *sys.argv[2:5]
DEADLINE_S = 60
# SQLite gives files that root makes to the owner of the database; the recorder of the unit is not root.
ONLY_ROOT = {"fchown"}


def group(name):
    said = subprocess.run(["systemd-analyze", "syscall-filter", name], stdout=subprocess.PIPE, text=True, check=True).stdout
    calls = set()
    for word in said.split("\n", 1)[1].split("\n"):
        word = word.strip()
        if word and not word.startswith("#"):
            calls |= group(word) if word.startswith("@") else {word}
    return calls


def allowed(unit):
    """As systemd.exec(5) has it: the first line says what may be done, the others add or, with ~, take away."""
    calls = group("@default")
    for line in re.findall(r"^SystemCallFilter=(.*)$", (units / unit).read_text(), re.MULTILINE):
        named = set()
        for word in line.lstrip("~").split():
            named |= group(word) if word.startswith("@") else {word}
        calls = calls - named if line.startswith("~") else calls | named
    return calls


class Traced:
    """A program under strace; the trace names its process, which gets the signals."""

    def __init__(self, trace, *command):
        self.trace = trace
        self.strace = subprocess.Popen(["strace", "-f", "-qq", "-o", trace, *command])
        until(lambda: self.pid() is not None)

    def pid(self):
        children = pathlib.Path(f"/proc/{self.strace.pid}/task/{self.strace.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def tell(self, number):
        os.kill(self.pid(), number)

    def stop(self):
        self.tell(signal.SIGTERM)
        code = self.strace.wait(timeout=DEADLINE_S)
        if code != 0:
            sys.exit(f"system_calls_test: {self.trace} ends with {code}")

    def calls(self):
        return set(re.findall(r"^\d+ +([a-z]\w*)\(", self.trace.read_text(), re.MULTILINE))


def until(condition):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            sys.exit("system_calls_test: it took too long")
        time.sleep(0.05)


def nodes():
    return subprocess.run([sluice, "ls", "--nodes", "--wait", "1"], stdout=subprocess.PIPE, text=True, check=False).stdout


def publish(topic):
    subprocess.run([sluice, "pub", topic, "hello"], check=True, timeout=DEADLINE_S, stdout=subprocess.DEVNULL)


def main():
    for program in ("strace", "systemd-analyze"):
        if not shutil.which(program):
            print(f"system_calls_test: skipped, there is no {program}")
            sys.exit(77)
    if subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], check=False).returncode != 0:
        print("system_calls_test: skipped, nothing may be traced here")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        os.environ |= {"SLUICE_SOCKET": name + "/socket", "STATE_DIRECTORY": name}
        first = Traced(folder / "first", sluiced, "--log-level", "error")
        until((folder / "socket").exists)
        keeper = Traced(folder / "keeper", recorder, "--record", "e/#", "--durable", "d/#", "--log-level", "error")
        until(lambda: "recorder" in nodes())
        publish("e/x")
        publish("d/x")
        first.tell(signal.SIGHUP)
        publish("e/x")
        first.stop()
        second = Traced(folder / "second", sluiced, "--log-level", "error")
        until(lambda: "recorder" in nodes())
        publish("d/x")
        keeper.stop()
        second.stop()
        found = {"sluiced.service.in": first.calls() | second.calls(), "sluice-recorder.service.in": keeper.calls()}
    refused = []
    for unit, calls in found.items():
        if len(calls) < 30:
            refused.append(f"only {sorted(calls)} were traced for {unit}")
        beyond = calls - allowed(unit) - (ONLY_ROOT if os.geteuid() == 0 else set())
        if beyond:
            refused.append(f"{unit} does not let through {sorted(beyond)}")
    for sentence in refused:
        print(f"system_calls_test: {sentence}", file=sys.stderr)
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
