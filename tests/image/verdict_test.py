#!/usr/bin/env python3
"""What verdict.py says of images that are well, and of each way in which they are not."""

import copy
import json
import subprocess
import sys
import tempfile
import unittest

VERDICT = sys.argv.pop()


def subscription(process, **other):
    return {"process": process, "taken": 40, "lost_total": 0, **other}


def stream(topic, published, gaps=0, **other):
    return {"topic": topic, "id": "1", "pid": 7, "published": published, "gaps": gaps, "copies": 0, "format": "YUYV", "width": 640,
            "height": 480, "publish_age_p50_ms": 1.0, "expected_hz": 15.0, "dropped": 0, "no_slot": 0, "subscriptions": [], **other}


def snapshot(second, *streams):
    return {"monotonic_ns": second * 1_000_000_000, "streams": list(streams)}


SUBSCRIPTION = {"node": "detect-hall", "mode": "latest", "published": 100, "taken": 60, "waiting": 0,
                "lost": {"policy": 40, "full": 0, "evicted": 0, "expired": 0, "invalid": 0}}
SUMMARY = {"processes": [{"name": "capture-hall", "restarts": 0, "failures": 0}],
           "cameras": [{"name": "hall", "captured": 100, "published": 100, "dropped": 0, "reconnects": 0,
                        "subscriptions": [SUBSCRIPTION]},
                       {"name": "direct", "captured": 100, "published": 100, "dropped": 0, "reconnects": 1, "subscriptions": []}],
           "detectors": [{"name": "hall", "handled": 60, "failed": 0, "detections": 0}]}
MEMORY = {"process": "broker", "rss_kb": 6000, "own_kb": 700, "files_kb": 5000, "shared_kb": 300, "pss_kb": 3000,
          "private_kb": 1000}


def cameras(hall, direct, lossy, lost, results):
    return (stream("camera/hall/frames", hall), stream("camera/direct/frames", direct),
            stream("camera/lossy/frames", lossy, lost), stream("detect/hall/objects", results))


CAMERA = {"booted": [{"seconds": 2}], "memory": [MEMORY], "end": [{"status": 0, "seconds": 9}],
          "top": [snapshot(1, *cameras(50, 50, 40, 10, 20)), snapshot(11, *cameras(199, 198, 160, 40, 60))],
          "refused": [{"userptr": True}],
          "hz": [{"messages": 70, "rate_hz": 15.0, "min_ms": 60.0, "max_ms": 70.0}], "summary": [SUMMARY]}

HALL = snapshot(1, stream("camera/hall/frames", 10, subscriptions=[subscription("listener")]))
LATER = snapshot(9, stream("camera/hall/frames", 130, subscriptions=[subscription("listener")]))
HZ = {"messages": 120, "lost": 0, "max_ms": 70.0}
UNIT = {"state": "active", "result": "success", "pid": 7, "memory_max": "536870912", "memory": "1", "watchdog": "10s"}
SYSTEMD = {"booted": [{"seconds": 9}], "memory": [MEMORY], "end": [{"status": 0, "seconds": 90}],
           "start": [{"failed": 0, "socket": "active", "broker": "inactive"}],
           "unit": [{"unit": "broker", "restarts": 2, **UNIT}, {"unit": "pipeline", "restarts": 0, **UNIT}],
           "watchdog": [{"alive": True}],
           "disturbed": [{"name": name, "back_after_us": 500_000, "before": HALL, "after": LATER, "hz": HZ}
                         for name in ("killed", "hung")],
           "refused": [{"when": "before", "lines": 0}, {"when": "after", "lines": 3}],
           "confined": [{"name": "nothing", "result": "success", "status": "0"},
                        {"name": "calls", "result": "signal", "status": "31"},
                        {"name": "memory", "result": "oom-kill", "status": "9"}]}

GUEST = [subscription("subscribe")]
TINY = {"booted": [{"seconds": 2}], "memory": [MEMORY], "end": [{"status": 0, "seconds": 9}],
        "top": [snapshot(1, stream("greetings/hello", 10, subscriptions=GUEST)),
                snapshot(4, stream("greetings/hello", 40, subscriptions=GUEST))],
        "request": [{"answered": True}], "summary": [{"processes": [{"name": "greeter", "restarts": 0, "failures": 0}]}]}


def judge(kind, said, noise=""):
    lines = [f"@{name} {json.dumps(one)}\r\n" for name, all_of_it in said.items() for one in all_of_it]
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        log.write("[    0.000000] Booting Linux\r\n" + "".join(lines) + noise)
        log.flush()
        return subprocess.run([sys.executable, "-B", VERDICT, kind, log.name], capture_output=True, text=True, check=False)


# Changes of what a healthy image says: path to the value, what stands there instead, a word of the sentence that follows.
BROKEN = {
    "tiny": (TINY, [
        (("end",), [], "never ended"),
        (("end", 0, "status"), 1, "failed"),
        (("top", 1, "streams", 0, "published"), 12, "ten a second"),
        (("top", 1, "streams", 0, "subscriptions", 0, "lost_total"), 1, "does not take all"),
        (("request",), [], "not answered"),
        (("summary", 0, "processes", 0, "restarts"), 1, "started again"),
        (("memory", 0, "rss_kb"), 0, "no memory"),
    ]),
    "camera": (CAMERA, [
        (("top",), [], "monitor has said nothing"),
        (("top", 1, "streams", 0, "published"), 90, "are not 15"),
        (("top", 1, "streams", 0, "topic"), "camera/other/frames", "does not see camera hall"),
        (("top", 1, "streams", 1, "copies"), 3, "copies frames"),
        (("top", 1, "streams", 2), stream("camera/lossy/frames", 190, 10), "a fifth is lost"),
        (("top", 1, "streams", 3, "published"), 20, "no result"),
        (("refused",), [], "this is not said"),
        (("hz",), [], "no frame"),
        (("summary",), [], "no summary"),
        (("summary", 0, "cameras", 0, "dropped"), 1, "do not add up"),
        (("summary", 0, "cameras", 0, "subscriptions", 0, "taken"), 59, "frames are missing"),
        (("summary", 0, "cameras", 0, "subscriptions", 0), {**SUBSCRIPTION, "taken": 59, "lost": {"policy": 40, "full": 1}}, "lost frames"),
        (("summary", 0, "cameras", 1, "reconnects"), 0, "opened again"),
        (("summary", 0, "detectors", 0, "handled"), 0, "detector failed"),
        (("summary", 0, "processes", 0, "failures"), 1, "started again"),
    ]),
    "systemd": (SYSTEMD, [
        (("start", 0, "broker"), "active", "waits to be called"),
        (("start", 0, "failed"), 1, "nothing has failed"),
        (("unit", 0, "restarts"), 1, "started again twice"),
        (("unit", 0, "memory_max"), "infinity", "no MemoryMax"),
        (("unit", 0, "watchdog"), "0", "no watchdog"),
        (("unit", 1, "state"), "failed", "not active"),
        (("unit", 1, "restarts"), 1, "the pipeline was started again"),
        (("watchdog",), [], "tell the watchdog"),
        (("disturbed", 0, "back_after_us"), -1, "did not come back"),
        (("disturbed", 0, "hz"), {**HZ, "lost": 1}, "frames were lost"),
        (("disturbed", 0, "hz"), {**HZ, "messages": 20}, "only 20 frames"),
        (("disturbed", 1, "after", "streams", 0, "id"), "2", "another stream"),
        (("disturbed", 1, "after", "streams", 0, "subscriptions", 0, "lost_total"), 1, "lost frames"),
        (("disturbed", 1, "after", "streams", 0, "no_slot"), 1, "no slot"),
        (("disturbed",), SYSTEMD["disturbed"][:1], "killed and hung"),
        (("refused", 0, "lines"), 1, "refusals"),
        (("refused", 1, "lines"), 0, "on purpose"),
        (("confined", 1, "result"), "success", "'calls'"),
        (("confined", 1, "status"), "9", "SIGSYS"),
        (("confined", 2, "result"), "success", "'memory'"),
    ]),
}


class Verdict(unittest.TestCase):
    def test_an_image_that_is_well_passes(self):
        for kind, (well, _) in BROKEN.items():
            with self.subTest(kind):
                done = judge(kind, well)
                self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_each_thing_that_is_wrong_is_named(self):
        for kind, (well, changes) in BROKEN.items():
            for path, value, word in changes:
                with self.subTest(kind=kind, path=path):
                    said = copy.deepcopy(well)
                    place = said
                    for step in path[:-1]:
                        place = place[step]
                    place[path[-1]] = value
                    done = judge(kind, said)
                    self.assertEqual(done.returncode, 1, done.stdout)
                    self.assertIn(word, done.stderr)

    def test_a_log_without_a_word_fails(self):
        for kind in BROKEN:
            self.assertEqual(judge(kind, {}).returncode, 1)

    def test_a_line_that_is_cut_off_is_no_json(self):
        done = judge("tiny", TINY, '@top {"streams": [}\r\n')
        self.assertEqual(done.returncode, 1)
        self.assertIn("no JSON", done.stderr)


if __name__ == "__main__":
    unittest.main()
