"""Every file is named in a CMakeLists.txt: what is not compiled rots unseen.

Sources are listed by hand, so that a build contains what was asked for and not what happens to lie about.
This check is the other half: nothing is forgotten.
"""

import os.path
import re

import lint

FOLDERS = ["include", "shm", "transport", "pipeline", "daemons", "tools", "examples", "tests"]
VARIABLE = re.compile(r"\$\{\w+\}")


def wanted(path):
    """Sources are compiled; headers are installed, so only the public ones are listed."""
    return path.endswith(".cpp") or path.startswith("include/")


def listed_files(root):
    """The paths, from the root, that the CMakeLists.txt files name."""
    for folder in FOLDERS:
        for lists in (root / folder).rglob("CMakeLists.txt"):
            words = set(re.split(r"[\s()]+", lists.read_text(encoding="utf-8")))
            for word in words:
                # `peer_${family}.cpp` stands for every word of the file that family may be.
                names = [VARIABLE.sub(value, word) for value in words] if VARIABLE.search(word) else [word]
                for name in names:
                    yield os.path.normpath(lists.relative_to(root).parent / name)


def check(root):
    listed = set(listed_files(root))
    return [
        lint.Finding(path, 1, "the file is in no CMakeLists.txt", "List it, or remove it.")
        for path, _ in lint.source_files(root, FOLDERS)
        if wanted(path) and path not in listed
    ]


if __name__ == "__main__":
    lint.main(check)
