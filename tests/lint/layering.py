"""Who may include what: shm <- transport <- pipeline <- daemons <- tools. Nothing points the other way.

Reads the #include lines only, so it also sees what no build configuration compiles.
"""

import re

import lint

# The headers of C++20's standard library, and C's under their C++ names.
STANDARD = set(
    """algorithm any array atomic barrier bit bitset charconv chrono codecvt compare complex concepts
    condition_variable coroutine deque exception execution filesystem format forward_list fstream functional
    future initializer_list iomanip ios iosfwd iostream istream iterator latch limits list locale map memory
    memory_resource mutex new numbers numeric optional ostream queue random ranges ratio regex scoped_allocator
    semaphore set shared_mutex source_location span sstream stack stdexcept stop_token streambuf string
    string_view strstream syncstream system_error thread tuple type_traits typeindex typeinfo unordered_map
    unordered_set utility valarray variant vector version
    cassert cctype cerrno cfenv cfloat cinttypes climits clocale cmath csetjmp csignal cstdarg cstddef cstdint
    cstdio cstdlib cstring ctime cuchar cwchar cwctype""".split()
)

# The kernel's and the C library's headers: <unistd.h>, <sys/mman.h>, <linux/futex.h>, <immintrin.h>.
SYSTEM = re.compile(r"^((sys|linux|asm|asm-generic|netinet|arpa)/[\w/-]+|[a-z0-9_]+)\.h$")

# What shm/ shares with users, or implements for them. A Node or a WaitSet is transport's.
BASIC_PUBLIC = {
    f"sluice/{name}.hpp"
    for name in ("export", "foreign", "loan", "message", "options", "result", "sample", "stats", "version")
}

# Which of our own folders each folder may include from.
ALLOWED_FOLDERS = {
    "include": {"sluice"},
    "shm": {"shm"},
    "transport": {"shm", "transport", "sluice"},
    "pipeline": {"shm", "transport", "pipeline", "sluice"},
    "daemons": {"shm", "transport", "pipeline", "daemons", "sluice"},
    "tools": {"shm", "transport", "pipeline", "daemons", "tools", "sluice"},
    "examples": {"examples", "sluice"},
}
OWN_FOLDERS = set().union(*ALLOWED_FOLDERS.values(), {"tests", "include"})

# Third parties that not everybody may use. Anything else from outside is for CMake to decide.
RESERVED = {
    "gst": {"pipeline", "daemons"},
    "opencv2": {"pipeline", "daemons"},
    "spdlog": {"daemons", "tools"},  # the library logs through a callback
}

# Public headers that are for users of one third party, and say so: they are header only, installed only
# where that third party is built in, and no other header includes them.
ADAPTERS = {"include/sluice/opencv.hpp": "opencv2"}

INCLUDE = re.compile(r"^\s*#\s*include\b\s*(?:([<\"])([^>\"]+)[>\"])?")


def verdict(folder, quoted, target):
    """What is wrong with `folder` including `target`: (rule, remedy), or None."""
    top = target.split("/")[0]
    if quoted or top in OWN_FOLDERS and "/" in target:
        if top not in OWN_FOLDERS or "/" not in target:
            return (
                f'"{target}" does not start at the root of the repository',
                'Write "shm/…", "sluice/…"; third parties and the system in angle brackets.',
            )
        if folder == "shm" and target in BASIC_PUBLIC:
            return None
        if top not in ALLOWED_FOLDERS[folder]:
            may = ", ".join(sorted(ALLOWED_FOLDERS[folder]))
            extra = " and " + ", ".join(sorted(BASIC_PUBLIC)) if folder == "shm" else ""
            return (
                f'{folder}/ must not include "{target}"',
                f"It may include from {may}{extra}: move what is needed down, or the user of it up.",
            )
        return None
    if target in STANDARD:
        return None
    if folder == "include":
        return (
            f"a public header must not include <{target}>",
            "Public headers use the standard library and sluice/… only: hide the rest in a .cpp.",
        )
    if folder == "shm" and not (SYSTEM.match(target) or target.startswith("boost/interprocess/")):
        return (
            f"shm/ must not include <{target}>",
            "It uses the standard library, the system and boost/interprocess/… only.",
        )
    if folder not in RESERVED.get(top, {folder}):
        return (
            f"{folder}/ must not include <{target}>",
            f"{top} is for {', '.join(sorted(RESERVED[top]))}.",
        )
    return None


def check(root):
    findings = []
    for path, text in lint.source_files(root, ALLOWED_FOLDERS):
        folder = path.split("/")[0]
        # Literals are blanked together with comments, so take only the decision "is this code" from there.
        code = lint.code_only(text).splitlines()
        for number, line in enumerate(text.splitlines(), 1):
            match = INCLUDE.match(line)
            if not match or "#" not in code[number - 1]:
                continue
            if not match.group(2):
                findings.append(
                    lint.Finding(path, number, "an #include that cannot be read", "Name the file itself.")
                )
                continue
            target = match.group(2)
            if match.group(1) == "<" and ADAPTERS.get(path) == target.split("/")[0]:
                continue
            if folder == "include" and f"include/{target}" in ADAPTERS:
                wrong = (
                    f'a public header must not include "{target}"',
                    "Only who uses that third party includes its adapter.",
                )
            else:
                wrong = verdict(folder, match.group(1) == '"', target)
            if wrong:
                findings.append(lint.Finding(path, number, *wrong))
    return findings


if __name__ == "__main__":
    lint.main(check)
