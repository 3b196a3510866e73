"""The verbs against streams whose rate, losses and holders are known.

    verbs_test.py SLUICE SLUICED KNOWN_STREAM
"""

import json
import sys

from scene import Scene, check, stop

FRONT = "camera/front/frames"


def stream(table, topic):
    found = [s for s in table["streams"] if s["topic"] == topic]
    check(len(found) == 1, f"{topic} is there {len(found)} times: {json.dumps(table)}")
    return found[0]


def reader(row, process):
    found = [r for r in row["subscriptions"] if r["process"] == process]
    check(len(found) == 1, f"{process} is there {len(found)} times: {json.dumps(row)}")
    return found[0]


def without_a_broker(scene):
    for verb in (["top", "-b", "-n", "1", "--no-wait"], ["ls", "--wait", "0"], ["info", "x", "--wait", "0"],
                 ["graph", "--wait", "0"], ["echo", "x", "--wait", "0"], ["hz", "x", "--wait", "0"],
                 ["snap", "x", "y.jpg", "--wait", "0"], ["trace", "--wait", "0"]):  # fmt: skip
        said = scene.text(*verb, code=1)
        check(scene.socket in said, f"{verb} does not say where no broker is: {said}")
    for verb in (["top", "a#"], ["top", "--sort", "x"], ["echo"], ["snap", "x", "y.gif"], ["nothing"],
                 ["trace", "--correlation", "x"], ["ls", "--nonsense"], []):  # fmt: skip
        scene.text(*verb, code=2)


def exact_counts(scene):
    count = 150
    publisher = scene.start_known("publish", "known/counted", 100, "--count", count, "--readers", 2,
                                  "--gaps", 7, "--max-held", 3)  # fmt: skip
    slow = scene.known("slow", "known/counted", 60)
    holder = scene.known("hold", "known/counted", 2)

    def settled():
        table = scene.json("top", "known/#", "--json", "-n", "1", "-i", "0.2")[0]
        row = stream(table, "known/counted")
        counted = reader(row, "known-slow")
        done = row["published"] == count and counted["waiting"] == 0 and counted["state"] == "asleep"
        return (row, counted) if done else None

    row, counted = scene.wait_for(settled, "all messages to be dealt with")
    check(row["gaps"] == 7, f"gaps: {row['gaps']}")
    check(row["bytes"] == 64 * count, f"bytes: {row['bytes']}")
    check(row["state"] == "stalled", f"a stream that stops is {row['state']}")
    check(row["rate_hz"] < 100, "a rate that stays")
    lost = counted["lost"]
    check(counted["taken"] + lost["full"] == count, f"losses do not add up: {counted}")
    check(lost["full"] > 0 and counted["lost_total"] == lost["full"], f"the cause is another: {counted}")
    held = reader(row, "known-holder")
    check(held["held"] == 2 and held["max_held"] == 2, f"held: {held}")
    check(held["oldest_held_ms"] > 100, f"held since: {held}")
    check(held["taken"] == 2 and held["mode"] == "latest", f"taken: {held}")
    text = scene.text("top", "known/#", "-b", "-n", "1", "-i", "0.2", "--width", "130")
    check("known-slow" in text and "stalled" in text, text)
    for process in (slow, holder, publisher):
        stop(process)


def rates(scene):
    row = stream(scene.json("top", "--json", "-n", "2", "-i", "1")[1], FRONT)
    check(20 < row["rate_hz"] < 33, f"top's rate: {row['rate_hz']}")
    check(abs(row["expected_hz"] - 30) < 0.01, f"expected: {row['expected_hz']}")
    check((row["format"], row["width"], row["height"]) == ("I420", 320, 240), f"format: {row}")
    check(row["state"] in ("live", "stalled") and row["jitter_ms"] is not None, f"{row}")
    check(4 < row["publish_age_p50_ms"] < 1000, f"age at publish: {row['publish_age_p50_ms']}")
    taken = reader(row, "known-detector")
    check(20 < taken["rate_hz"] < 33, f"the detector's rate: {taken['rate_hz']}")
    check(taken["end_to_end_p50_ms"] > 4, f"end to end: {taken}")
    refused = reader(row, "known-unfit")
    check(refused["state"] == "unfit" and "reliable" in refused["sentence"], f"{refused}")

    line = scene.json("hz", FRONT, "-n", "1", "-i", "1.5", "--json")[0]
    check(20 < line["rate_hz"] < 33 and line["min_ms"] <= line["max_ms"], f"hz: {line}")
    check(" /s" in scene.text("hz", FRONT, "-n", "1", "--counters"), "hz --counters")
    check(scene.run("hz", "nobody/here", "-n", "1", "-i", "0.2").returncode == 1, "hz of nothing is no success")


def lists(scene):
    check(FRONT in scene.text("ls", "--topics").split(), "ls --topics")
    check("known-detector" in scene.text("ls", "--nodes").split(), "ls --nodes")
    text = scene.text("ls")
    check("detect/known/objects" in text and "known-unfit" in text and "reliable" in text, text)
    check("trace/" not in text and "trace/" in scene.text("ls", "-a"), "reports are hidden, and shown with -a")
    everything = scene.json("ls", "--json")[0]
    check(any(u["sentence"] for u in everything["unfit"]), "ls --json knows what does not fit")
    check("wants mode reliable" in scene.text("info", FRONT), "info tells why a pair does not fit")
    check("detect/known/objects" in scene.text("info", "known-detector"), "info of a node")
    check(scene.json("info", FRONT, "--json")[0]["streams"][0]["topic"] == FRONT, "info --json")
    check("nothing/here" in scene.text("info", "nothing/here", code=1), "info of nothing")

    edges = scene.json("graph", "--json")[0]["edges"]
    check(any(e["kind"] == "subscribes" and e["process"] == "known-detector" and e["topic"] == FRONT for e in edges), "graph")
    dot = scene.text("graph", "--dot")
    check('"process known-publisher" -> "topic camera/front/frames"' in dot and dot.endswith("}\n"), dot)
    check("-> known-detector" in scene.text("graph"), "graph as text")


def messages(scene):
    found = scene.json("echo", "detect/#", "-n", "2", "--json")
    check(len(found) == 2, "echo -n 2")
    message = found[0]["message"]
    check(message["detections"][0]["label"] == "face", f"{message}")
    check(message["detections"][0]["box"] == {"x": 10, "y": 20, "width": 30, "height": 40}, f"{message}")
    check(found[0]["correlation"] == message["frame"]["correlation"], "the correlation is the frame's")
    check(found[0]["references"] == [message["frame"]["reference"]], "the frame is attached")
    check(found[1]["sequence"] == found[0]["sequence"] + 1, "in order")
    check("face at 10,20 size 30x40" in scene.text("echo", "detect/#", "-n", "1"), "echo as text")
    header = scene.json("echo", FRONT, "-n", "1", "--json")[0]["message"]
    check(header["camera"] == "known" and header["width"] == 320, f"{header}")
    span = scene.json("echo", "trace/known-detector", "-n", "1", "-l", "1", "--json")[0]["message"]
    check(span["stage"] == "known-detector" and span["end"] == "done", f"{span}")
    plain = scene.text("echo", "sensors/plain", "-n", "1")
    check('"message ' in plain, plain)
    lying = scene.text("echo", "sensors/lying", "-n", "1")
    check("not a sluice.Detections" in lying, lying)
    check("nobody publishes" in scene.text("echo", "nobody/here", "--timeout", "0.3", code=1), "echo of nothing")

    frame_id = found[0]["correlation"]
    one = scene.json("trace", "--correlation", frame_id, "--seconds", "0.5", "--json")[0]["journeys"][0]
    check([h["stage"] for h in one["hops"]] == ["known-publisher", "known-detector"], f"{one}")
    check(one["correlation"] == frame_id, f"{one}")
    parts = one["hops"][0]
    check(3.9 < parts["waiting_ms"] < 4.1, f"the source says it waited 4 ms: {parts}")
    check(one["total_ms"] >= 4 and all(h["handling_ms"] >= 0 for h in one["hops"]), f"{one}")
    text = scene.text("trace", "--slowest", "2", "--seconds", "0.5", "--chrome", "trace.json")
    check(text.count("known-detector") == 3, text)
    events = json.loads((scene.path / "trace.json").read_text())["traceEvents"]
    names = {e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "process_name"}
    check({"known-publisher", "known-detector"} <= names, f"{names}")
    flow = [e for e in events if e.get("id") == frame_id]
    check([e["ph"] for e in flow] == ["s", "f"] and flow[0]["pid"] != flow[1]["pid"], f"{flow}")
    slices = [e for e in events if e["ph"] == "X" and e["args"]["correlation"] == frame_id]
    for step in flow:
        check(any(s["pid"] == step["pid"] and s["ts"] <= step["ts"] <= s["ts"] + s["dur"] for s in slices), f"{flow}")


def pictures(scene):
    said = scene.json("snap", FRONT, "front.ppm", "--json")[0]
    check(said["format"] == "I420" and said["camera"] == "known", f"{said}")
    data = (scene.path / "front.ppm").read_bytes()
    head = b"P6\n320 240\n255\n"
    check(data.startswith(head) and len(data) == len(head) + 320 * 240 * 3, "the picture's size")
    for x, y in ((10, 10), (160, 120), (310, 230), (10, 230)):
        at = len(head) + (y * 320 + x) * 3
        want = (255 * x / 320, 255 * y / 240, 64)
        check(all(abs(a - b) < 10 for a, b in zip(data[at : at + 3], want)), f"{list(data[at:at+3])} is not {want}")
    scene.text("snap", FRONT, "front.jpg")
    jpeg = (scene.path / "front.jpg").read_bytes()
    check(jpeg[:2] == b"\xff\xd8" and jpeg[-2:] == b"\xff\xd9", "a whole JPEG")
    scene.text("snap", FRONT, "front.raw")
    check((scene.path / "front.raw").stat().st_size == 320 * 240 * 3 // 2, "the planes alone")
    check("not accepted" in scene.text("snap", "sensors/plain", "no.jpg", code=1), "what is no frame")
    check(not list(scene.path.glob("no.jpg*")) and not list(scene.path.glob("*.part")), "nothing is left behind")


def main():
    with Scene(sys.argv) as scene:
        without_a_broker(scene)
        scene.start_broker()
        exact_counts(scene)
        scene.known("publish", FRONT, 30, "--frames", "320x240", "I420")
        scene.known("publish", "sensors/plain", 20)
        scene.known("publish", "sensors/lying", 20, "--type", "sluice.Detections", "--node", "known-liar")
        scene.known("results", FRONT)
        scene.known("unfit", FRONT)
        rates(scene)
        lists(scene)
        messages(scene)
        pictures(scene)
        doctor = json.loads(scene.text("doctor", "--json"))
        broker = [f for f in doctor["findings"] if f["name"] == "broker"][0]
        check(broker["grade"] == "ok" and scene.socket in broker["text"], f"{broker}")
        scene.stop_broker()
        broker = [f for f in json.loads(scene.text("doctor", "--json"))["findings"] if f["name"] == "broker"][0]
        check(broker["grade"] == "note" and "left over" in broker["text"] and broker["mend"], f"{broker}")


main()
