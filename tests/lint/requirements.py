"""docs/requirements.md names tests, as `Suite.Test`, and benchmark cells, as `cell:name`: each of them exists.

A requirement whose proof was renamed or removed would look as proven as before.
"""

import re

import lint

PAGE = "docs/requirements.md"
CELLS = "tests/bench/workload.cpp"
TEST = re.compile(r"^TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\)", re.MULTILINE)
NAMED_TEST = re.compile(r"`([A-Z]\w+\.[A-Z]\w+)`")
NAMED_CELL = re.compile(r"`cell:([\w-]+)`")


def check(root):
    tests = {".".join(match) for _, text in lint.source_files(root, ["tests"]) for match in TEST.findall(text)}
    cells = set(re.findall(r'"([\w-]+)"', (root / CELLS).read_text(encoding="utf-8")))
    findings = []
    for number, line in enumerate((root / PAGE).read_text(encoding="utf-8").splitlines(), start=1):
        missing = [f"test {name}" for name in NAMED_TEST.findall(line) if name not in tests]
        missing += [f"cell {name}" for name in NAMED_CELL.findall(line) if name not in cells]
        findings += [lint.Finding(PAGE, number, f"there is no {what}", "Name what shows it now.") for what in missing]
    return findings


if __name__ == "__main__":
    lint.main(check)
