#!/usr/bin/env python3
"""Judges what an image has said over its serial line.

    verdict.py tiny|camera|systemd LOG

An image says lines `@NAME {…JSON…}` (see init). Prints what was measured; exit code 1 and a sentence for each thing that is
wrong. How fast an emulated machine is depends on the one that emulates it: checked are counts that must agree with each
other, and of rates only that they are not far off.
"""

import json
import re
import sys


class Verdict:
    def __init__(self):
        self.wrong = []

    def check(self, holds, sentence):
        if not holds:
            self.wrong.append(sentence)
        return holds


def read(path):
    """The lines of the image, by name: {name: [object, …]}."""
    said = {}
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log:
            found = re.match(r"\s*@(\w+) ({.*})\s*$", line)
            if not found:
                continue
            try:
                said.setdefault(found.group(1), []).append(json.loads(found.group(2)))
            except json.JSONDecodeError as error:
                sys.exit(f"verdict: the line @{found.group(1)} is no JSON ({error}): {line[:200]!r}")
    return said


def lost_of(subscription):
    return {cause: count for cause, count in subscription["lost"].items() if count}


def check_end(verdict, said):
    end = said.get("end", [{}])[-1]
    verdict.check(end.get("status") == 0, f"the image's job failed or never ended: @end is {end or 'missing'}")
    for memory in said.get("memory", []):
        verdict.check(memory["rss_kb"] > 0, f"no memory of {memory['process']}")


def check_summary(verdict, summary):
    """Everything adds up, and no process was started again."""
    for process in summary["processes"]:
        verdict.check(process["restarts"] == 0 and process["failures"] == 0,
                      f"{process['name']} was started again: {process}")
    for camera in summary.get("cameras", []):
        name = camera["name"]
        verdict.check(camera["captured"] == camera["published"] + camera["dropped"],
                      f"camera {name}: captured, published and dropped do not add up: {camera}")
        verdict.check(camera["dropped"] == 0, f"camera {name} dropped {camera['dropped']} frames: no slot was free")
        for subscription in camera["subscriptions"]:
            if subscription["mode"] == "references":
                continue
            accounted = subscription["taken"] + sum(subscription["lost"].values()) + subscription["waiting"]
            verdict.check(accounted == subscription["published"],
                          f"camera {name}, {subscription['node']}: frames are missing: {subscription}")
            unexplained = {cause: n for cause, n in lost_of(subscription).items() if cause != "policy"}
            # The monitor's own subscriptions take what they want.
            verdict.check(not unexplained or not subscription["node"].startswith("detect"),
                          f"camera {name}, {subscription['node']} lost frames: {unexplained}")


def stream_of(snapshot, topic):
    return next((stream for stream in snapshot["streams"] if stream["topic"] == topic), None)


def check_rates(verdict, snapshots, cameras):
    """What the monitor saw from its first to its last look: frames, and those that were lost before us."""
    if not verdict.check(len(snapshots) >= 2, "the monitor has said nothing"):
        return
    first, last = snapshots[0], snapshots[-1]
    seconds = (last["monotonic_ns"] - first["monotonic_ns"]) / 1e9
    for camera, (rate, loses) in cameras.items():
        before, after = (stream_of(s, f"camera/{camera}/frames") for s in (first, last))
        if not verdict.check(before and after, f"the monitor does not see camera {camera}"):
            continue
        frames = after["published"] - before["published"]
        gaps = after["gaps"] - before["gaps"]
        print(f"camera {camera}: {frames} frames and {gaps} gaps in {seconds:.1f} s, {frames / seconds:.1f} of {rate} a second, "
              f"{after['format']} {after['width']}x{after['height']}, {after['copies']} of {after['published']} copied, "
              f"age p50 {after['publish_age_p50_ms']} ms")
        # The driver's counter goes by the clock: frames and gaps together are the rate, however slow the machine.
        verdict.check(0.8 * rate < (frames + gaps) / seconds < 1.2 * rate,
                      f"camera {camera}: {frames} frames and {gaps} gaps in {seconds:.1f} s are not {rate} a second")
        verdict.check(frames > 0.4 * rate * seconds, f"camera {camera}: only {frames} frames in {seconds:.1f} s")
        if loses:
            verdict.check(gaps > 0.05 * (frames + gaps), f"camera {camera}: {gaps} gaps of {frames + gaps}; a fifth is lost")
        verdict.check(after["expected_hz"] == rate, f"camera {camera}: expected are {after['expected_hz']} a second")


def camera(verdict, said):
    snapshots = said.get("top", [])
    check_rates(verdict, snapshots, {"hall": (15, False), "direct": (15, False), "lossy": (15, True)})
    if snapshots:
        direct = stream_of(snapshots[-1], "camera/direct/frames")
        verdict.check(direct and direct["copies"] == 0, "io=userptr copies frames")
        objects = [stream_of(s, "detect/hall/objects") for s in (snapshots[0], snapshots[-1])]
        if verdict.check(all(objects), "the monitor does not see the detector's results"):
            results = objects[1]["published"] - objects[0]["published"]
            print(f"detector: {results} results in the same time")
            verdict.check(results > 0, "the detector has brought no result")
    verdict.check(said.get("refused") == [{"userptr": True}], "of a driver that cannot have io=userptr this is not said")
    hz = said.get("hz", [{}])[-1]
    if verdict.check(hz.get("messages", 0) > 0, "sluice hz saw no frame"):
        print(f"sluice hz: {hz['messages']} frames, {hz['rate_hz']} a second, {hz['min_ms']} to {hz['max_ms']} ms apart")
    summary = said.get("summary", [None])[-1]
    if verdict.check(summary is not None, "there is no summary of sluice run"):
        check_summary(verdict, summary)
        verdict.check(all(d["handled"] > 0 and d["failed"] == 0 for d in summary["detectors"]),
                      f"the detector failed: {summary['detectors']}")
        again = [c for c in summary["cameras"] if c["name"] == "direct"]
        verdict.check(again and again[0]["reconnects"] == 1, f"camera direct failed once and was not opened again once: {again}")
        print(f"detections of {summary['detectors'][0]['handled']} frames: {summary['detectors'][0]['detections']}")


def tiny(verdict, said):
    snapshots = said.get("top", [])
    if verdict.check(len(snapshots) >= 2, "the monitor has said nothing"):
        first, last = (stream_of(s, "greetings/hello") for s in (snapshots[0], snapshots[-1]))
        if verdict.check(first and last, "the monitor does not see greetings/hello"):
            seconds = (snapshots[-1]["monotonic_ns"] - snapshots[0]["monotonic_ns"]) / 1e9
            messages = last["published"] - first["published"]
            print(f"greetings/hello: {messages} messages in {seconds:.1f} s")
            verdict.check(4 * seconds < messages < 11 * seconds, f"{messages} messages in {seconds:.1f} s are not ten a second")
            guests = [r for r in last["subscriptions"] if r["process"] == "subscribe"]
            verdict.check(len(guests) == 1 and guests[0]["lost_total"] == 0 and guests[0]["taken"] > 0,
                          f"the guest does not take all: {guests}")
    verdict.check(said.get("request") == [{"answered": True}], "the request was not answered")
    summary = said.get("summary", [None])[-1]
    if verdict.check(summary is not None, "there is no summary of sluice run"):
        check_summary(verdict, summary)


def check_unit(verdict, units, name):
    """The last that was said of a unit."""
    found = [unit for unit in units if unit["unit"] == name]
    if not verdict.check(found, f"nothing was said of the unit {name}"):
        return {}
    unit = found[-1]
    verdict.check(unit["state"] == "active", f"the unit {name} is not active: {unit}")
    verdict.check(unit["memory_max"].isdigit(), f"the unit {name} has no MemoryMax: {unit}")
    return unit


def check_disturbed(verdict, what, rate):
    """The broker died or hung: it came back, and nobody who was attached lost a frame."""
    name, hz = what["name"], what["hz"]
    verdict.check(what["back_after_us"] > 0, f"broker {name}: it did not come back")
    before, after = (stream_of(what[when], "camera/hall/frames") for when in ("before", "after"))
    if not verdict.check(before and after, f"broker {name}: the monitor does not see the camera"):
        return
    print(f"broker {name}: back after {what['back_after_us'] / 1e6:.1f} s; meanwhile {hz['messages']} frames, {hz['lost']} lost, "
          f"at most {hz['max_ms']} ms apart")
    verdict.check(before["id"] == after["id"] and before["pid"] == after["pid"], f"broker {name}: it is another stream now")
    verdict.check(hz["lost"] == 0, f"broker {name}: {hz['lost']} frames were lost")
    verdict.check(hz["messages"] > 0.4 * rate * 8, f"broker {name}: only {hz['messages']} frames in 8 s")
    for stream in (before, after):
        verdict.check(stream["dropped"] == 0 and stream["no_slot"] == 0, f"broker {name}: frames found no slot: {stream}")
    readers = {reader["process"]: reader for reader in before["subscriptions"]}
    for reader in after["subscriptions"]:
        if reader["process"] in readers:
            verdict.check(reader["lost_total"] == readers[reader["process"]]["lost_total"],
                          f"broker {name}: {reader['process']} lost frames")


def systemd(verdict, said):
    start = said.get("start", [{}])[-1]
    verdict.check(start == {"failed": 0, "socket": "active", "broker": "inactive"},
                  f"at the start the socket listens, nothing has failed and the broker waits to be called: {start}")
    units = said.get("unit", [])
    broker = check_unit(verdict, units, "broker")
    pipeline = check_unit(verdict, units, "pipeline")
    verdict.check(broker.get("restarts") == 2, f"the broker was killed and hung, so started again twice: {broker}")
    verdict.check(pipeline.get("restarts") == 0, f"the pipeline was started again: {pipeline}")
    verdict.check(broker.get("watchdog") not in (None, "", "0", "infinity"), f"the broker has no watchdog: {broker}")
    verdict.check(said.get("watchdog") == [{"alive": True}], "the broker does not tell the watchdog that it lives")
    for what in said.get("disturbed", []):
        check_disturbed(verdict, what, 15)
    verdict.check([what["name"] for what in said.get("disturbed", [])] == ["killed", "hung"],
                  "the broker was not killed and hung")
    refused = {entry["when"]: entry["lines"] for entry in said.get("refused", [])}
    verdict.check(refused.get("before") == 0, f"the journal has {refused.get('before')} refusals")
    # What is refused on purpose shows that the journal would have had it.
    verdict.check(refused.get("after", 0) > 0, "the journal does not show what is refused on purpose")
    confined = {entry["name"]: entry for entry in said.get("confined", [])}
    for name, result in {"nothing": "success", "calls": "signal", "memory": "oom-kill"}.items():
        got = confined.get(name, {})
        verdict.check(got.get("result") == result, f"confined as the broker, '{name}' ends with {result}, not {got}")
    verdict.check(confined.get("calls", {}).get("status") == "31", "a forbidden system call ends with SIGSYS (31)")


def main():
    kinds = {"tiny": tiny, "camera": camera, "systemd": systemd}
    if len(sys.argv) != 3 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    said = read(sys.argv[2])
    verdict = Verdict()
    kinds[sys.argv[1]](verdict, said)
    for memory in said.get("memory", []):
        print("memory of {process}: {rss_kb} KiB resident ({own_kb} own, {files_kb} files, {shared_kb} "
              "shared), {private_kb} private, PSS {pss_kb}".format(**memory))
    booted, end = said.get("booted", [{}])[-1], said.get("end", [{}])[-1]
    print(f"started after {booted.get('seconds')} s, powered off after {end.get('seconds')} s of its own clock")
    check_end(verdict, said)
    for sentence in verdict.wrong:
        print(f"verdict: {sentence}", file=sys.stderr)
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
