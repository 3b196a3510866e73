"""Every file is named in the CMakeLists.txt of its folder: what is not compiled rots unseen.

Sources are listed by hand, so that a build contains what was asked for and not what happens to lie about.
This check is the other half: nothing is forgotten.
"""

import re

import lint

FOLDERS = ["include", "shm", "transport", "pipeline", "daemons", "tools", "examples", "tests"]


def wanted(path):
    """Sources are compiled; headers are installed, so only the public ones are listed."""
    return path.endswith(".cpp") or path.startswith("include/")


def stands_for(word, name, words):
    """Whether a word of a CMakeLists.txt names the file; `peer_${family}.cpp` does for each word family."""
    before, variable, after = re.fullmatch(r"([^$]*)(\$\{\w+\})?(.*)", word).groups()
    if not variable:
        return word == name
    value = name.removeprefix(before).removesuffix(after)
    return value in words and name == before + value + after


def is_listed(root, path):
    """Whether the nearest CMakeLists.txt above the file, or one further up, names it."""
    file = root / path
    for folder in file.parents:
        lists = folder / "CMakeLists.txt"
        if lists.is_file():
            words = set(re.split(r"[\s()]+", lists.read_text(encoding="utf-8")))
            if any(stands_for(word, file.relative_to(folder).as_posix(), words) for word in words):
                return True
        if folder == root:
            return False
    return False


def check(root):
    return [
        lint.Finding(path, 1, "the file is in no CMakeLists.txt", "List it, or remove it.")
        for path, _ in lint.source_files(root, FOLDERS)
        if wanted(path) and not is_listed(root, path)
    ]


if __name__ == "__main__":
    lint.main(check)
