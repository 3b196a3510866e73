"""sluice top in a terminal of 80 x 24, through tmux: what is seen, key by key.

    top_terminal_test.py SLUICE SLUICED KNOWN_STREAM
"""

import re
import subprocess
import sys
import unicodedata

from scene import Scene, check

FRONT = "camera/front/frames"


class Terminal:
    def __init__(self, scene):
        self.scene = scene
        self.server = ["tmux", "-f", "/dev/null", "-S", str(scene.path / "tmux")]
        self.tmux("new-session", "-d", "-x", "80", "-y", "24", "sh")
        # A prompt that is known, so that it is seen that the terminal is given back.
        self.type("PS1=; clear; echo before; exec 2>&1", "Enter")

    def tmux(self, *words):
        done = subprocess.run([*self.server, *words], env=self.scene.environment, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def type(self, *keys):
        self.tmux("send-keys", *keys)

    def lines(self):
        lines = self.tmux("capture-pane", "-p").splitlines()
        for line in lines:
            width = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)
            check(width <= 80, f"too wide: {line!r}")
        return lines

    def see(self, what, pattern):
        """Waits until a line matches, and returns all of them."""
        expression = re.compile(pattern)

        def seen():
            lines = self.lines()
            return lines if any(expression.search(line) for line in lines) else None

        try:
            return self.scene.wait_for(seen, what)
        except SystemExit:
            print("\n".join(self.lines()), file=sys.stderr)
            raise

    def close(self):
        self.tmux("kill-server")


def rows(lines):
    """The lines of the table, without headings and keys."""
    return [line for line in lines[3:-1] if line.strip()]


def watch(scene, terminal):
    scene.start_broker()
    terminal.type(f"'{scene.sluice}' top --interval 0.3; echo ended $?", "Enter")
    terminal.see("top without streams", "broker up.*")
    scene.known("publish", FRONT, 30, "--frames", "320x240", "I420", "--gaps", "7")
    publisher = scene.known("publish", "aaa/first", 5, "--node", "dies-soon")
    scene.known("hold", FRONT, "2")
    slow = scene.known("slow", FRONT, 300)

    lines = terminal.see("the stream with its rate", rf"^{FRONT} +live +(2\d|30)\.\d +30\.0 .* 7 ")
    check(lines[1].startswith("STREAM") and "  SUBSCRIBER" in lines[2], "\n".join(lines))
    lines = terminal.see("the holder", r"^  known-holder +busy +latest +0 .* 2 +\d")
    terminal.see("who is late", r"^  known-slow +\w+ +next +\d\.\d+ +\d+\.\d late")
    check(lines[-1].startswith("q quit"), lines[-1])
    check(rows(lines)[0].startswith("aaa/first"), "sorted by name")

    terminal.type("s")
    lines = terminal.see("sorting by rate", "by rate")
    lines = terminal.see("the fastest first", f"^{FRONT}")
    scene.wait_for(lambda: rows(terminal.lines())[0].startswith(FRONT), "the fastest stream above")
    terminal.type("r")
    scene.wait_for(lambda: rows(terminal.lines())[0].startswith("aaa/first"), "the other way round")
    terminal.type("r")

    terminal.type(" ")
    terminal.see("freezing", "FROZEN")
    first = terminal.lines()
    scene.start_known("publish", "zzz/last", 5)
    # In a frozen picture nothing moves, however many intervals pass.
    for _ in range(10):
        check(terminal.lines() == first, "a frozen picture moves")
        scene.run("ls", "--topics")
    terminal.type(" ")
    terminal.see("going on", "^zzz/last")

    terminal.type("Down", "Enter")
    lines = terminal.see("one stream", r"format +I420 320x240")
    terminal.see("what is lost of it", r"lost: full +\d+")
    check(any("subscribes to" in line for line in lines), "\n".join(lines))
    terminal.type("Escape")
    terminal.see("the table again", "^zzz/last")
    terminal.type("w")
    terminal.see("who loses", f"known-slow of {FRONT}")
    terminal.see("why", "too slow for the stream's")
    terminal.type("?")
    terminal.see("help", "^SUBSCRIBER +LOST")
    terminal.type("Escape", "s", "s", "s", "s", "s")  # by name again

    terminal.type("c")
    terminal.see("clearing", "cleared")
    scene.wait_for(lambda: any(re.search(rf"^{FRONT} .* 0 ", line) for line in terminal.lines()), "no gaps since")

    slow.kill()
    terminal.see("that a subscriber died", r"^  known-slow +gone")
    publisher.kill()
    terminal.see("that a publisher died", r"^aaa/first +(gone|ended)")
    scene.known("publish", "aaa/first", 5, "--node", "dies-soon")
    terminal.see("that it is back", r"^aaa/first +live")

    scene.stop_broker()
    terminal.see("that the broker died", "BROKER DOWN")
    terminal.see("that frames go on", rf"^{FRONT} +live +(2\d|30)\.\d")
    scene.start_broker()
    terminal.see("that it is back", "^broker up")
    scene.known("publish", "after/broker", 5)
    terminal.see("what came after", r"^after/broker +live")
    terminal.see("that frames go on", rf"^{FRONT} +live +(2\d|30)\.\d")

    terminal.tmux("resize-window", "-x", "120", "-y", "30")
    scene.wait_for(lambda: "FORMAT" in terminal.tmux("capture-pane", "-p"), "more columns on a wider terminal")
    terminal.tmux("resize-window", "-x", "80", "-y", "24")
    scene.wait_for(lambda: "FORMAT" not in terminal.tmux("capture-pane", "-p"), "fewer again")

    terminal.type("q")
    lines = terminal.see("the end", "^ended 0")
    check(not any("STREAM" in line for line in lines), "the terminal is not clean:\n" + "\n".join(lines))


def wait_for_a_broker(scene, terminal):
    scene.stop_broker()
    terminal.type(f"clear; '{scene.sluice}' top --interval 0.3 --socket '{scene.path}/none'; echo over $?", "Enter")
    terminal.see("that there is no broker", "waiting for a broker")
    terminal.type("q")
    terminal.see("the end", "^over 0")


def main():
    with Scene(sys.argv) as scene:
        terminal = Terminal(scene)
        try:
            watch(scene, terminal)
            wait_for_a_broker(scene, terminal)
        finally:
            terminal.close()


main()
