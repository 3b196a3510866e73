#!/usr/bin/env python3
"""Lines and branches of instrumented sources, and of the headers beside them, that a run has passed.

    coverage.py BUILD_FOLDER

Reads what GCC wrote when the programs ran (gcov's JSON). Branches that only exceptions take are left out: the
compiler puts one behind nearly each call. Fails when something was not passed and does not stand below.
"""

import gzip
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# (file, text of the line): why no test can pass all of its branches. None at present, and best so.
UNREACHABLE = {}


def reports(folder):
    """gcov's report of each instrumented source; one that no program has run has its notes alone."""
    for notes in sorted(folder.rglob("*.gcno")):
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run(
                ["gcov", "--json-format", "--branch-probabilities", notes.resolve()],
                cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for path in pathlib.Path(directory).glob("*.gcov.json.gz"):
                with gzip.open(path, "rt", encoding="utf-8") as file:
                    yield notes.name.split(".")[0], json.load(file)


def measured(folder):
    """For each file: line number -> [times passed, times that each branch was taken], over all that contain it."""
    files = {}
    for stem, report in reports(folder):
        for file in report["files"]:
            path = pathlib.Path(report["current_working_directory"], file["file"]).resolve()
            if ROOT not in path.parents or path.stem != stem:
                continue
            lines = files.setdefault(str(path.relative_to(ROOT)), {})
            for line in file["lines"]:
                branches = [branch["count"] for branch in line["branches"] if not branch["throw"]]
                # A line of a template, or of a function that was inlined twice, stands there more than once.
                known = lines.setdefault(line["line_number"], [0, []])
                known[0] += line["count"]
                if len(branches) == len(known[1]):
                    known[1] = [a + b for a, b in zip(known[1], branches)]
                else:
                    known[1] += branches
    return files


def main():
    files = measured(pathlib.Path(sys.argv[1]))
    if not files:
        sys.exit("coverage: nothing was measured; is that a build with SLUICE_COVERAGE?")
    missing = []
    used = set()
    print(f"{'file':<42}{'lines':>12}{'branches':>14}")
    for path, lines in sorted(files.items()):
        text = (ROOT / path).read_text(encoding="utf-8").splitlines()
        passed = sum(1 for count, _ in lines.values() if count)
        branches = [taken for _, of_line in lines.values() for taken in of_line]
        print(f"{path:<42}{passed:>6} of {len(lines):<4}{sum(map(bool, branches)):>6} of {len(branches):<4}")
        for number, (count, of_line) in sorted(lines.items()):
            if count and all(of_line):
                continue
            words = text[number - 1].strip()
            if (path, words) in UNREACHABLE:
                used.add((path, words))
                continue
            what = f"{of_line.count(0)} of {len(of_line)} branches not taken" if count else "never passed"
            missing.append(f"{path}:{number}: {what}: {words}")
    missing += [f"{path}: tools/coverage.py excuses what needs no excuse: {words}"
                for path, words in UNREACHABLE if (path, words) not in used]
    for line in missing:
        print(line)
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
