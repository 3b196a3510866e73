"""The verbs of the bus against each other: pub and sub, request and serve, state, health, breaker.

    bus_verbs_test.py SLUICE SLUICED KNOWN_STREAM
"""

import json
import os
import pathlib
import signal
import subprocess
import sys

from scene import Scene, check, stop

NOBODY = 3
UNAVAILABLE = 24
ID = "0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1c"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def lines_of(process):
    out, err = process.communicate(timeout=30)
    return out.splitlines(), err


def subscribed(scene, filter_, *words):
    """A sub that has subscribed."""
    process = scene.tool("sub", filter_, *words)

    def there():
        listed = scene.json("ls", filter_, "--json")[0]
        mine = [n["id"] for n in listed["nodes"] if n["pid"] == process.pid]
        return any(s["node"] in mine for s in listed["subscriptions"])

    scene.wait_for(there, f"a subscription to {filter_}")
    return process


def serving(scene, *words):
    process = scene.tool("serve", *words)
    line = process.stderr.readline()
    check("worker" in line, f"serve {words} said {line!r}")
    return process


def usage(scene):
    for words in (["pub"], ["pub", "a"], ["pub", "a/+", "x"], ["pub", "a", "x", "--lines"], ["pub", "a", "{", "--json"],
                  ["pub", "a", "x", "--ttl", "soon"], ["pub", "a", "x", "--priority", "urgent"],
                  ["pub", "a", "--clear", "--retain"], ["pub", "a", "x", "--traceparent", "x"],
                  ["pub", "a", "x", "--correlation", "x"], ["sub"], ["sub", "a#"], ["sub", "a", "-F", "%z"],
                  ["sub", "a", "--json", "--raw"], ["sub", "a", "--group", "x" * 32], ["sub", "a", "--mode", "any"],
                  ["request"], ["request", "a/#"], ["request", "a", "x", "--timeout", "-1"], ["serve", "a"],
                  ["serve", "a", "--echo", "--command", "cat"], ["state"], ["state", "get", "b"],
                  ["state", "set", "b", "k"], ["breaker"], ["breaker", "open"], ["traceparent"],
                  ["traceparent", "x", "--stdin"]):  # fmt: skip
        scene.text(*words, code=2)
    for words in (["pub", "a", "x"], ["sub", "a"], ["request", "a"], ["serve", "a", "--echo"], ["health"],
                  ["state", "get", "b", "k"], ["state", "keep", "b"], ["breaker", "ls"]):  # fmt: skip
        said = scene.text(*words, "--wait", "0", code=1)
        check(scene.socket in said, f"{words} does not say where no broker is: {said}")


def pub_and_sub(scene):
    sub = subscribed(scene, "room/#", "-v", "-C", "3")
    for i in range(3):
        scene.text("pub", f"room/{i}", f"message {i}")
    out, err = lines_of(sub)
    check(out == [f"room/{i} message {i}" for i in range(3)], f"{out} {err}")
    check(sub.returncode == 0, f"ended with {sub.returncode}")

    # Everything about one message, by JSON and by a format.
    as_json = subscribed(scene, "room/+", "--json", "-C", "1")
    by_format = subscribed(scene, "room/+", "-C", "1", "-F", "%t|%p|%c|%T|%P|%k|%l")
    scene.text("pub", "room/x", '{"on": true}', "--json", "--priority", "high", "--correlation", ID,
               "--traceparent", TRACE, "--wait-for", 2)  # fmt: skip
    message = json.loads(lines_of(as_json)[0][0])
    check(message["payload"] == {"on": True} and message["codec"] == "json", f"{message}")
    check(message["correlation"] == ID and message["priority"] == 1, f"{message}")
    check(message["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-"), f"{message}")
    check(message["traceparent"] != TRACE, "a span of its own")
    found = lines_of(by_format)[0][0].split("|")
    check(found[:3] == ["room/x", '{"on": true}', ID] and found[4:] == ["high", "json", "12"], f"{found}")
    check(found[3].startswith(TRACE[:36]), f"{found}")

    # The environment is carried on, as serve sets it.
    sub = subscribed(scene, "room/+", "-C", "1", "-F", "%c %T")
    scene.environment.update(SLUICE_CORRELATION=ID, TRACEPARENT=TRACE)
    scene.text("pub", "room/x", "y")
    for name in ("SLUICE_CORRELATION", "TRACEPARENT"):
        del scene.environment[name]
    found = lines_of(sub)[0][0]
    check(found.startswith(f"{ID} {TRACE[:36]}"), found)

    # Lines, files, counts.
    sub = subscribed(scene, "lines", "-C", "3")
    scene.text("pub", "lines", "--lines", given="one\n\nthree")
    check(lines_of(sub)[0] == ["one", "", "three"], "lines")
    (scene.path / "payload").write_bytes(bytes(range(256)))
    sub = scene.start([scene.sluice, "sub", "file", "--raw", "-C", "1"], stdout=subprocess.PIPE)
    scene.text("pub", "file", "-f", "payload", "--wait-for", 1, "--timeout", "20s")
    check(sub.communicate(timeout=30)[0] == bytes(range(256)), "raw bytes of a file")
    sub = subscribed(scene, "often", "-C", "5", "-F", "%s %p")
    scene.text("pub", "often", "x", "--count", 5, "--interval", "10ms")
    check(lines_of(sub)[0] == [f"{i} x" for i in range(1, 6)], "--count")

    # Several filters, one delivery each; sources; one destination.
    sub = scene.tool("sub", "a/+", "a/b", "-v", "-W", "1s", "--source", "known-publisher")
    out, _ = lines_of(sub)
    check(sub.returncode == 1 and not out, "there is no such node")
    sub = subscribed(scene, "a/+", "a/b", "-v", "-C", "1")
    scene.text("pub", "a/b", "once", "--to", "sluice-sub")
    check(lines_of(sub)[0] == ["a/b once"], "overlapping filters, with a destination")
    check("no node 'nobody'" in scene.text("pub", "a/b", "x", "--to", "nobody", code=1), "an unknown destination")


def retained(scene):
    keeper = scene.tool("pub", "kept/value", "42", "--retain")
    scene.wait_for(lambda: "kept/value" in scene.text("ls", "--topics").split(), "the retained topic")
    check(scene.text("sub", "kept/#", "--retained", "-C", "1", "-W", "10s") == "42\n", "retained")
    check(scene.run("sub", "kept/#", "-C", "1", "-W", "0.5s").returncode == 1, "without --retained there is nothing")
    stop(keeper)
    check(keeper.returncode == 0, f"an interrupt is its end: {keeper.returncode}")
    check(scene.run("sub", "kept/#", "--retained", "-W", "0.5s").returncode == 1, "it lives as long as its publisher")
    sub = subscribed(scene, "kept/#", "-C", "1", "--json")
    scene.text("pub", "kept/value", "--clear")
    check("text" in json.loads(lines_of(sub)[0][0]), "an empty message clears")


def reliable(scene):
    for words in (["--reliable", "delivered"], ["--reliable", "handled"], ["--need-subscriber"],
                  ["--wait-for", 1, "--timeout", "0.2s"]):  # fmt: skip
        scene.text("pub", "nobody/here", "x", *words, code=NOBODY)
    scene.text("pub", "nobody/here", "x")
    sub = subscribed(scene, "work", "--mode", "reliable", "-C", "20")
    scene.text("pub", "work", "--lines", "--reliable", "handled", "--timeout", "20s",
               given="".join(f"{i}\n" for i in range(20)))  # fmt: skip
    check(lines_of(sub)[0] == [str(i) for i in range(20)], "all, in order")

    # Who does not acknowledge is not waited for.
    sub = subscribed(scene, "work", "-C", "1")
    said = scene.text("pub", "work", "x", "--reliable", "handled", code=NOBODY)
    check("acknowledges" in said and lines_of(sub)[0] == ["x"], said)

    # A group shares: each to one member, nothing lost.
    members = [subscribed(scene, "jobs", "--group", "workers", "--credits", 1) for _ in range(2)]
    scene.text("pub", "jobs", "--lines", "--wait-for", 2, "--reliable", "handled", "--timeout", "20s",
               given="".join(f"{i}\n" for i in range(40)))  # fmt: skip
    for member in members:
        member.send_signal(signal.SIGTERM)
    got = [line for member in members for line in lines_of(member)[0]]
    check(sorted(got, key=int) == [str(i) for i in range(40)], f"{got}")
    check(all(m.returncode == 0 for m in members), "an interrupt is no failure")

    # What a stopped subscription does not take is told.
    sub = subscribed(scene, "stuck", "--mode", "reliable")
    pub = scene.start([scene.sluice, "pub", "stuck", "--lines", "--reliable", "handled", "--timeout", "2s"],
                      stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    pub.stdin.write("1\n")
    pub.stdin.flush()
    check(sub.stdout.readline() == "1\n", "the first one")
    sub.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, sub.pid, os.WSTOPPED)  # it may have work under way
    _, said = pub.communicate("2\n", timeout=30)
    check(pub.returncode == 1 and "0 handled it" in said, f"{pub.returncode} {said}")
    sub.send_signal(signal.SIGCONT)
    stop(sub)


def pipes_and_frames(scene):
    # Nobody reads any more: the end, and no failure.
    sub = scene.start([scene.sluice, "sub", "tick"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ticks = scene.start([scene.sluice, "pub", "tick", "x", "--count", "100000", "--interval", "20ms"])
    check(sub.stdout.readline() == b"x\n", "a line at once")
    sub.stdout.close()
    check(sub.wait(timeout=20) == 0, f"a broken pipe ended it with {sub.returncode}")
    stop(ticks)
    publisher = scene.known("publish", "sensors/plain", 50)
    sub = scene.tool("sub", "sensors/#", "-W", "1s")
    out, err = lines_of(sub)
    check(not out and err.count("without an envelope") == 1, f"{out} {err}")
    check(sub.returncode == 1, "nothing came")
    stop(publisher)


def requests(scene):
    said = scene.text("request", "nobody/serves", "x", code=UNAVAILABLE)
    check("unavailable" in said and "nobody/serves" in said, said)
    upper = serving(scene, "text/upper", "--command", "tr a-z A-Z")
    check(scene.text("request", "text/upper", "hello") == "HELLO\n", "an answer")
    check(scene.text("request", "text/upper", "hello", "--raw") == "HELLO", "the answer alone")
    check(scene.text("request", "text/upper", "-f", "-", given="from\nhere\n") == "FROM\nHERE\n", "standard input")
    found = scene.json("request", "text/upper", "x", "--json")[0]
    check(found["status"] == "ok" and found["code"] == 0 and found["reply"]["text"] == "X", f"{found}")
    check(scene.text("request", "text/upper", given="") == "", "an empty request")
    large = "x" * 60_000
    check(scene.text("request", "text/upper", "-f", "-", given=large) == large.upper() + "\n", "a large one")
    stop(upper)
    check(upper.returncode == 0, f"drained with {upper.returncode}")

    echo = serving(scene, "echo", "--echo")
    found = scene.json("request", "echo", "x", "--count", 50, "--json")[0]
    check(found["calls"] == 50 and found["failed"] == 0 and 0 < found["min_us"] <= found["max_us"], f"{found}")
    check("50 calls, 0 failed" in scene.text("request", "echo", "x", "--count", 50), "as text")
    stop(echo)

    told = serving(scene, "environment", "--timeout", "20s", "--command",
                   'echo "$SLUICE_SERVICE $SLUICE_CORRELATION $TRACEPARENT $SLUICE_DEADLINE_MS"')  # fmt: skip
    words = scene.text("request", "environment", "--correlation", ID, "--traceparent", TRACE, "--timeout", "10s").split()
    check(words[:2] == ["environment", ID] and words[2][:36] == TRACE[:36], f"{words}")
    check(0 < int(words[3]) <= 10_000, f"the deadline: {words}")
    stop(told)

    failing = serving(scene, "failing", "--command", "echo details; echo 'no paper' >&2; exit 3")
    result = scene.run("request", "failing", "x")
    check(result.returncode == 23 and "internal: no paper" in result.stderr, f"{result}")
    check(result.stdout == "details\n", "details of a failure")
    found = json.loads(scene.run("request", "failing", "x", "--json").stdout)
    check(found["status"] == "internal" and found["error"] == "no paper", f"{found}")
    failing.send_signal(signal.SIGTERM)
    check("no paper" in lines_of(failing)[1], "serve says what fails")

    endless = serving(scene, "endless", "--command", "cat /dev/zero")
    check(scene.run("request", "endless").returncode == 18, "a limit of what a command says")
    stop(endless)


def descendants(pid, name):
    """Processes of this name that descend from `pid`, alive."""
    parents = {}
    names = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue
        head, _, rest = stat.rpartition(")")
        state, parent = rest.split()[:2]
        if state != "Z":
            parents[int(folder.name)] = int(parent)
            names[int(folder.name)] = head.partition("(")[2]
    found = []
    for one in parents:
        above = one
        while above in parents and above != pid:
            above = parents[above]
        if above == pid and one != pid and names[one] == name:
            found.append(one)
    return found


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ended_commands(scene):
    """A command that is cancelled, or late, is ended with all it has started."""
    slow = serving(scene, "slow", "--timeout", "60s", "--workers", 2, "--command", "sleep 1000 & wait")
    asking = scene.tool("request", "slow", "x", "--timeout", "50s")
    sleepers = scene.wait_for(lambda: descendants(slow.pid, "sleep"), "the command's child")
    asking.send_signal(signal.SIGINT)
    asking.wait(timeout=20)
    check(asking.returncode == 11, f"an interrupted request ended with {asking.returncode}")
    scene.wait_for(lambda: not any(map(alive, sleepers)), "the end of a cancelled command")

    result = scene.run("request", "slow", "x", "--timeout", "0.5s")
    check(result.returncode == 14, f"a late request ended with {result.returncode}")
    scene.wait_for(lambda: not descendants(slow.pid, "sleep"), "the end of a late command")
    stop(slow)
    check(slow.returncode == 0, f"ended with {slow.returncode}")

    quick = serving(scene, "quick", "--timeout", "0.3s", "--command", "sleep 1000")
    check(scene.run("request", "quick", "x", "--timeout", "20s").returncode == 14, "serve's own limit")
    stop(quick)

    # Draining: what is here is answered, and nothing new is taken.
    last = serving(scene, "last", "--timeout", "30s", "--command", "while [ ! -e go ]; do sleep 0.05; done; echo done")
    asking = scene.tool("request", "last", "x", "--timeout", "25s")
    scene.wait_for(lambda: descendants(last.pid, "sh"), "the command")
    last.send_signal(signal.SIGTERM)
    (scene.path / "go").touch()
    out, err = lines_of(asking)
    check(out == ["done"], f"a request that was here: {out} {err}")
    check(last.wait(timeout=20) == 0, "drained")
    scene.text("request", "last", "x", code=UNAVAILABLE)


def keeping(scene, *words):
    """A keeper that keeps, and what it said before."""
    process = scene.tool("state", "keep", *words)
    said = []
    while True:
        line = process.stderr.readline()
        said.append(line)
        check(line, f"state keep {words} said {said}")
        if "the bucket '" in line:
            return process, "".join(said)


def state(scene):
    scene.text("state", "get", "box", "k", code=UNAVAILABLE)
    scene.text("state", "ls", "box", code=UNAVAILABLE)
    keeper, _ = keeping(scene, "box", "--file", "box.state", "--max-value-bytes", 100)
    check("kept by another" in scene.text("state", "keep", "box", code=1), "a second keeper")
    watch = scene.tool("state", "watch", "box", "-C", "4")
    scene.wait_for(lambda: any("state/box/#" in s["filter"] for s in scene.json("ls", "--json")[0]["subscriptions"]), "the watch")
    check("no such key" in scene.text("state", "get", "box", "k", code=15), "there is no such key")
    first = int(scene.text("state", "set", "box", "k", "one"))
    check(watch.stdout.readline() == "PUT k one\n", "the watch sees it")
    check(scene.text("state", "get", "box", "k") == "one\n", "get")
    check(scene.json("state", "get", "box", "k", "--json") == [{"key": "k", "revision": first, "value": "one"}], "get --json")
    check(str(first) in scene.text("state", "cas", "box", "k", first + 1, "no", code=20), "cas at another revision")
    second = int(scene.text("state", "cas", "box", "k", first, "two"))
    check(second > first, "revisions grow")
    check(watch.stdout.readline() == "PUT k two\n", "the watch sees it")
    scene.text("state", "cas", "box", "k", 0, "new", code=20)
    scene.text("state", "set", "box", "a/b", "-f", "-", given="deep")
    check(watch.stdout.readline() == "PUT a/b deep\n", "the watch sees it")
    check(scene.text("state", "ls", "box") == "a/b\nk\n", "ls")
    check(scene.json("state", "ls", "box", "a/#", "--json") == [["a/b"]], "ls with a filter")
    scene.text("state", "set", "box", "k", "x" * 101, code=13)
    scene.text("state", "set", "box", "k/+", "x", code=13)
    scene.text("state", "set", "box", "k", "", code=13)
    scene.text("state", "del", "box", "k", "--revision", first, code=20)
    scene.text("state", "del", "box", "k")
    scene.text("state", "del", "box", "k", code=15)
    out, err = lines_of(watch)
    check(out == ["DEL k"], f"watch: {out} {err}")
    found = scene.json("state", "watch", "box", "--json", "-C", "1")[0]
    check(found["key"] == "a/b" and found["value"] == "deep" and found["initial"], f"{found}")
    check(scene.run("state", "watch", "box", "--changes", "-W", "0.5s").returncode == 1, "no changes")

    # Killed, and started anew: what was acknowledged is there.
    for i in range(20):
        last = int(scene.text("state", "set", "box", f"n/{i}", i))
    keeper.kill()
    keeper.wait()
    scene.text("state", "get", "box", "a/b", "--timeout", "0.5s", code=UNAVAILABLE)
    keeper, _ = keeping(scene, "box", "--file", "box.state")
    check(scene.text("state", "get", "box", "a/b") == "deep\n", "restored")
    check(len(scene.text("state", "ls", "box", "n/+").split()) == 20, "all of them")
    check(int(scene.text("state", "set", "box", "k", "again")) > last, "revisions go on")
    other = scene.run("state", "keep", "other", "--file", "box.state")
    check(other.returncode == 1 and "another process" in other.stderr, f"{other}")
    stop(keeper)
    check(keeper.returncode == 0, f"ended with {keeper.returncode}")
    other = scene.run("state", "keep", "other", "--file", "box.state")
    check(other.returncode == 1 and "'box'" in other.stderr, f"{other}")

    (scene.path / "box.state").write_text("sluice-state 1 nonsense")
    keeper, said = keeping(scene, "box", "--file", "box.state")
    check("damaged" in said and list(scene.path.glob("box.state.damaged-*")), said)
    check(scene.text("state", "ls", "box") == "", "a new one is begun")
    stop(keeper)


def race(scene):
    """Two processes count up one number with cas: no count is lost."""
    keeper, _ = keeping(scene, "race")
    scene.text("state", "set", "race", "n", "0")
    script = """
i=0
while [ $i -lt 5 ]; do
  now=$("$1" state get race n --json) || exit 1
  value=${now##*\\"value\\":\\"}; value=${value%%\\"*}
  at=${now##*\\"revision\\":}; at=${at%%,*}
  "$1" state cas race n "$at" $((value + 1)) >/dev/null 2>&1
  case $? in 0) i=$((i + 1)) ;; 20) ;; *) exit 1 ;; esac
done
"""
    racers = [scene.start(["sh", "-c", script, "race", scene.sluice]) for _ in range(2)]
    check([r.wait(timeout=60) for r in racers] == [0, 0], "racers")
    check(scene.text("state", "get", "race", "n") == "10\n", "no update is lost")
    stop(keeper)


def health(scene):
    publisher = scene.known("publish", "camera/x/frames", 10)
    rows = {r["node"]: r for r in scene.json("health", "--json")[0]}
    check(rows["known-publisher"]["online"] and rows["known-publisher"]["pid"] == publisher.pid, f"{rows}")
    check("sluice-health" not in rows, "not itself")
    check("known-publisher" in scene.text("health"), "as text")
    ill = scene.tool("pub", "health/known-publisher/bus", '{"status": "problem", "problem": "no film", "uptime_s": 5}',
                     "--json", "--retain")  # fmt: skip
    scene.wait_for(lambda: "health/known-publisher/bus" in scene.text("ls", "--topics"), "the record")
    result = scene.run("health")
    check(result.returncode == 1 and "no film" in result.stdout and "problem" in result.stdout, f"{result}")
    stop(ill)
    stop(publisher)


def breaker(scene):
    check("no breaker" in scene.text("breaker", "ls"), "ls of nothing")
    scene.text("breaker", "open", "payments", "--node", "shop", code=NOBODY)
    record = {"service": "payments", "node": "shop", "state": "open", "calls": 20, "failed": 18, "slow": 0,
              "refused": 3, "opened": 1}  # fmt: skip
    told = scene.tool("pub", "$breaker/payments/shop", json.dumps(record), "--json", "--retain")
    scene.wait_for(lambda: "shop" in scene.text("breaker", "ls"), "the breaker's state")
    check(scene.json("breaker", "ls", "payments", "--json") == [[record]], "ls --json")
    check(scene.json("breaker", "ls", "other", "--json") == [[]], "of one service")
    stop(told)
    for verb, forced in (("open", "forced_open"), ("close", "forced_closed"), ("reset", "closed")):
        shop = subscribed(scene, "$sys/control/shop", "-C", "1", "--mode", "reliable")
        scene.text("breaker", verb, "payments", "--node", "shop")
        order = json.loads(lines_of(shop)[0][0])
        check(order == {"do": "breaker", "service": "payments", "state": forced}, f"{order}")


def traceparent(scene):
    given = f"{TRACE}\nnonsense\n{TRACE}\ta=1,b=2\n"
    found = [json.loads(line) for line in scene.text("traceparent", "--stdin", given=given).splitlines()]
    check([f["valid"] for f in found] == [True, False, True], f"{found}")
    check(found[0]["canonical"] == TRACE and found[2]["tracestate"] == "a=1,b=2", f"{found}")
    scene.text("traceparent", "--stdin", "--strict", given=given, code=1)
    scene.text("traceparent", "--strict", TRACE)


def main():
    with Scene(sys.argv) as scene:
        usage(scene)
        traceparent(scene)
        scene.start_broker()
        for part in (pub_and_sub, retained, reliable, pipes_and_frames, requests, ended_commands, state, race,
                     health, breaker):  # fmt: skip
            part(scene)


main()
