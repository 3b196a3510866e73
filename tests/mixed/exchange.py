"""Processes of several architectures exchange frames, work and requests through one broker of this machine.

    exchange.py BUILD...

The first build is this machine's own, whose broker is used; the others run emulated. Everybody publishes to everybody,
takes from everybody, and serves everybody: with three builds these are nine directions. The programs check the contents
(actor.cpp), this script that nothing is missing and nothing came twice.
"""

import contextlib
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time

FRAMES = 100
WORK = 150
REQUESTS = 60
PATIENCE = 240  # seconds for each step, on a machine that is slow and busy
MACHINES = {62: "x86-64", 183: "arm64", 40: "armhf", 3: "i386", 243: "riscv64"}


def fail(sentence):
    sys.exit(f"exchange: {sentence}")


class Build:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.actor = self.folder / "bin" / "mixed_actor"
        if not self.actor.exists():
            fail(f"there is no {self.actor}: build the target mixed_actor there")
        machine = struct.unpack_from("<H", self.actor.read_bytes(), 18)[0]
        self.name = MACHINES.get(machine, f"machine-{machine}")
        emulated = self.folder / "tests" / "emulated"
        self.command = [str(emulated)] if emulated.exists() else []

    def start(self, role, others, count, *services):
        words = [*self.command, str(self.actor), role, self.name, str(others), str(count), *services]
        return Actor(f"{role} on {self.name}", words)


class Actor:
    def __init__(self, name, words):
        self.name = name
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def lines(self):
        """Its output, once it has ended well."""
        try:
            out, _ = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            fail(f"{self.name} does not end")
        if self.process.returncode != 0:
            fail(f"{self.name} ended with {self.process.returncode}: {out.strip()}")
        return out.splitlines()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.lines()


@contextlib.contextmanager
def actors():
    """A list whose processes have ended when the block is left."""
    running = []
    try:
        yield running
    finally:
        for actor in running:
            if actor.process.poll() is None:
                actor.process.kill()
                actor.process.wait()


def expect(actor, lines, wanted):
    if sorted(lines) != sorted(wanted):
        fail(f"{actor.name} says {lines}, not {wanted}")


def frames(builds):
    with actors() as running:
        readers = [build.start("read", len(builds), FRAMES) for build in builds]
        running += readers
        publishers = [build.start("publish", len(builds), FRAMES) for build in builds]
        running += publishers
        for publisher in publishers:
            expect(publisher, publisher.lines(), [f"published {FRAMES}"])
        for reader in readers:
            expect(reader, reader.lines(), [f"mixed/{build.name}/frames {FRAMES}" for build in builds])


def work(builds):
    with actors() as running:
        members = [build.start("work", 0, 0) for build in builds]
        running += members
        queues = [build.start("queue", len(builds), WORK) for build in builds]
        running += queues
        for queue in queues:
            expect(queue, queue.lines(), [f"published {WORK}"])
        handled = {}
        for member in members:
            for line in member.stop():
                topic, *numbers = line.split()
                handled.setdefault(topic, []).append([int(number) for number in numbers])
    for build in builds:
        by_member = handled.get(f"mixed/{build.name}/work", [])
        if sorted(sum(by_member, [])) != list(range(1, WORK + 1)):
            fail(f"of the work of {build.name} the members handled {by_member}")
        if len(by_member) != len(builds):
            fail(f"of {len(builds)} members {len(by_member)} got work of {build.name}")


def requests(builds):
    services = [f"mixed/{build.name}" for build in builds]
    with actors() as running:
        workers = [build.start("serve", 0, 0) for build in builds]
        running += workers
        requesters = [build.start("request", 0, REQUESTS, *services) for build in builds]
        running += requesters
        for requester in requesters:
            expect(requester, requester.lines(), [f"{service} {REQUESTS}" for service in services])
        for worker in workers:
            expect(worker, worker.stop(), [f"answered {REQUESTS * len(builds)}"])


def main():
    builds = [Build(folder) for folder in sys.argv[1:]]
    if not builds or builds[0].command:
        fail("name builds, the first of them for this machine")
    if len({build.name for build in builds}) != len(builds):
        fail(f"several builds are for one machine: {[build.name for build in builds]}")
    with tempfile.TemporaryDirectory() as folder:
        socket = pathlib.Path(folder) / "sluiced.sock"
        os.environ["SLUICE_SOCKET"] = str(socket)
        broker = subprocess.Popen(
            [str(builds[0].folder / "bin" / "sluiced"), "--socket", str(socket), "--log-level", "warning"]
        )
        try:
            for step in (frames, work, requests):
                began = time.monotonic()
                step(builds)
                print(f"{step.__name__}: {' '.join(b.name for b in builds)}, {time.monotonic() - began:.1f} s", flush=True)
            if broker.poll() is not None:
                fail(f"the broker ended with {broker.returncode}")
        finally:
            broker.terminate()
            broker.wait()


if __name__ == "__main__":
    main()
