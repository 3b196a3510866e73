"""The verbs against streams whose rate, losses and holders are known.

    verbs_test.py SLUICE SLUICED KNOWN_STREAM
"""

import json
import os
import pathlib
import sys

from scene import Scene, check, stop

FRONT = "camera/front/frames"
BACK = "camera/back/frames"


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


def starving(scene):
    # Four slots for a pool that would need more: who keeps three of them starves it.
    publisher = scene.known("publish", "known/starved", 50, "--slots", 4, "--max-held", 8)
    holder = scene.known("hold", "known/starved", 4)

    def blamed():
        row = stream(scene.json("top", "known/#", "--json", "-n", "1", "-i", "0.5")[0], "known/starved")
        return row if row["short_of_slots"] else None

    row = scene.wait_for(blamed, "a pool that runs out")
    held = reader(row, "known-holder")
    check(held["starves_the_pool"] and held["held"] == 4 and row["no_slot"] > 0, f"{row}")
    text = scene.text("top", "known/#", "-b", "-n", "1", "-i", "0.5", "--width", "80")
    check("no slot was free: known-holder holds 4" in text, text)
    for process in (holder, publisher):
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
    found = scene.json("echo", "recognize/#", "-n", "1", "--json")[0]["message"]
    check([i["name"] for i in found["identities"]] == ["Marie Curie", "unknown"], f"{found}")
    check(found["identities"][0] == {"name": "Marie Curie", "distance": 0.25, "confidence": 0.75,
                                     "box": {"x": 10, "y": 20, "width": 30, "height": 40}}, f"{found}")  # fmt: skip
    check(found["frame"]["camera"] == "known" and found["model"] == "known", f"{found}")
    text = scene.text("echo", "recognize/#", "-n", "1")
    check("2 faces by known in frame" in text and "Marie Curie at 10,20 size 30x40" in text, text)
    health = scene.json("echo", "health/#", "-n", "1", "--json")[0]["message"]
    check(health["node"] == "known-recognizer" and health["status"] == "degraded", f"{health}")
    check(health["handled"] > 0 and health["failed"] == 4 and health["handling_p50_ns"] == 2000000, f"{health}")
    text = scene.text("echo", "health/#", "-n", "1")
    check("known-recognizer degraded for" in text and "work 2.0ms (p99 3.0ms)" in text, text)
    check("last error: known ?[31mtrouble" in text, text)
    plain = scene.text("echo", "sensors/plain", "-n", "1")
    check('"message ' in plain, plain)
    lying = scene.text("echo", "sensors/lying", "-n", "1")
    check("not a sluice.Detections" in lying, lying)
    check("nobody publishes" in scene.text("echo", "nobody/here", "--timeout", "0.3", code=1), "echo of nothing")

    frame_id = scene.json("echo", "detect/#", "-n", "1", "--json")[0]["correlation"]
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


def several_cameras(scene):
    scene.known("publish", BACK, 20, "--frames", "64x48", "GREY", "--node", "known-back")

    def gathered():
        traced = scene.json("trace", "--slowest", "100000", "--seconds", "1", "--chrome", "both.json", "--json")[0]
        stages = {s["stage"] for s in traced["stages"]}
        return traced if {"known-publisher", "known-back", "known-detector"} <= stages else None

    traced = scene.wait_for(gathered, "spans of both cameras")
    journeys = traced["journeys"]
    check(len(journeys) == traced["frames"], "every frame is one of the slowest")
    check(len({j["correlation"] for j in journeys}) == len(journeys), "a frame is one journey")
    for one in journeys:
        check({h["topic"] for h in one["hops"]} == {one["topic"]}, f"frames of two cameras in one: {one}")
        stages = [h["stage"] for h in one["hops"]]
        if one["topic"] == BACK:
            check(stages == ["known-back"], f"{one}")
        else:
            check(set(stages) <= {"known-publisher", "known-detector"}, f"{one}")
    check({j["topic"] for j in journeys} == {FRONT, BACK}, "frames of both cameras")
    check(any(len(j["hops"]) == 2 for j in journeys), "frames that the detector had")
    totals = [j["total_ms"] for j in journeys]
    check(totals == sorted(totals, reverse=True), "the slowest first")
    check(f" stages  {FRONT}\n" in scene.text("trace", "--correlation", [j for j in journeys if len(j["hops"]) == 2][-1]["correlation"],
                                       "--seconds", "0.5"), "the head of a journey names the camera")  # fmt: skip
    events = json.loads((scene.path / "both.json").read_text())["traceEvents"]
    pids = {e["pid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "process_name"}
    check(set(pids.values()) == {"known-publisher", "known-back", "known-detector"}, f"{pids}")
    for event in events:
        if event["ph"] == "X":
            check((event["args"]["topic"] == BACK) == (pids[event["pid"]] == "known-back"), f"{event}")


def references(scene):
    def resolving():
        row = stream(scene.json("top", FRONT, "--json", "-n", "1", "-i", "0.3")[0], FRONT)
        found = reader(row, "known-recognizer")
        return (row, found) if found["resolved"] > 10 else None

    row, found = scene.wait_for(resolving, "references to be resolved")
    check(found["mode"] == "refs" and found["waiting"] is None, f"{found}")
    check(found["taken"] == 0 and found["lost_total"] == 0, f"{found}")
    check(reader(row, "known-detector")["waiting"] <= 4, "no queue is longer than the stream is deep")
    edges = scene.json("graph", "--json")[0]["edges"]
    check(any(e["process"] == "known-recognizer" and e["topic"] == FRONT and e["mode"] == "refs" for e in edges), f"{edges}")
    check("-> known-recognizer  resolves references" in scene.text("graph"), "graph as text")
    check('label="references", style=dashed' in scene.text("graph", "--dot"), "graph as DOT")
    listed = scene.json("ls", "--json")[0]["subscriptions"]
    check([s["mode"] for s in listed if s["process"] == "known-recognizer" and s["filter"] == FRONT] == ["refs"], f"{listed}")


def what_daemons_need(scene):
    programs = scene.path / "programs"
    plugins = scene.path / "plugins"
    for folder in (programs, plugins):
        folder.mkdir()
    capture = programs / "sluice-capture"
    capture.write_text("#!/bin/sh\n")
    capture.chmod(0o755)
    scene.environment["PATH"] = f"{programs}:{os.environ['PATH']}"

    def finding():
        said = json.loads(scene.run("doctor", "--json").stdout)
        return said, [f for f in said["findings"] if f["name"] == "GStreamer"][0]

    here = not list(pathlib.Path("/usr/lib").glob("*/gstreamer-1.0/libgstx264.so"))
    for name in ("GST_PLUGIN_SYSTEM_PATH_1_0", "GST_PLUGIN_SYSTEM_PATH"):
        scene.environment[name] = str(plugins)
        for plugin in plugins.iterdir():
            plugin.unlink()
        said, found = finding()
        check(found["grade"] == "BAD" and not said["ok"], f"without any plugin: {found}")
        check(f"where {name} leads" in found["text"] and "videoconvertscale" in found["text"], f"{found}")
        for plugin in ("videoconvertscale", "playback", "typefindfunctions"):
            (plugins / f"libgst{plugin}.so").touch()
        found = finding()[1]
        check(found["grade"] == "note" and "x264 (sluice-photo-camera)" in found["text"], f"{found}")
        check("playback" not in found["text"], f"{found}")
        mend = "gstreamer1.0-plugins-ugly" if here else f"unset {name}"
        check(mend in found["mend"], f"'{mend}' is not in {found}")
        del scene.environment[name]
    (plugins / "libgstx264.so").touch()
    scene.environment["GST_PLUGIN_PATH"] = str(plugins)
    check("x264" not in finding()[1]["text"], "folders beside GStreamer's own count")
    del scene.environment["GST_PLUGIN_PATH"]


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
        starving(scene)
        scene.known("publish", FRONT, 30, "--frames", "320x240", "I420")
        scene.known("publish", "sensors/plain", 20)
        scene.known("publish", "sensors/lying", 20, "--type", "sluice.Detections", "--node", "known-liar")
        scene.known("results", FRONT)
        scene.known("people", "detect/known/objects")
        scene.known("unfit", FRONT)
        rates(scene)
        lists(scene)
        messages(scene)
        references(scene)
        several_cameras(scene)
        pictures(scene)
        what_daemons_need(scene)
        doctor = json.loads(scene.text("doctor", "--json"))
        broker = [f for f in doctor["findings"] if f["name"] == "broker"][0]
        check(broker["grade"] == "ok" and scene.socket in broker["text"], f"{broker}")
        scene.stop_broker()
        broker = [f for f in json.loads(scene.text("doctor", "--json"))["findings"] if f["name"] == "broker"][0]
        check(broker["grade"] == "note" and "left over" in broker["text"] and broker["mend"], f"{broker}")


main()
