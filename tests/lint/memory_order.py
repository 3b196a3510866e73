"""Every access with a memory order says which protocol it belongs to, and each protocol has two ends.

In shm/ and transport/ a statement that names a memory order, or is a fence, carries one of

    // sync claim (reader side): why             one end of the protocol `claim`
    // sync claim, wake (reader): why            of two protocols at once; "side" may be left out
    // relaxed: why no order is needed           only where every order in the statement is relaxed

in itself or in the comment directly above it. A `relaxed` tag holds for a run of relaxed statements on
consecutive lines. Each name after `sync` stands with at least two different sides somewhere: an order
without a partner synchronises with nothing.

In shm/, atomics are never read or written with the order left out. (Of that, this check sees the calls:
`.load()`, `.store(x)` and their kin. It does not see `a = x` and `x = a` on an atomic.)
"""

import re

import lint

FOLDERS = ["shm", "transport"]
ORDERED = re.compile(r"\bmemory_order(?:_|::)(\w+)|\b(atomic_(?:thread|signal)_fence)\b")
SYNC = re.compile(r"//.*?\bsync ([a-z][a-z0-9_-]*(?:, *[a-z][a-z0-9_-]*)*) \(([^)]+)\): *\S")
RELAXED = re.compile(r"//.*?\brelaxed: *\S")
ATOMIC_CALL = re.compile(
    r"(?:\.|->)\s*(load|store|exchange|compare_exchange_weak|compare_exchange_strong"
    r"|fetch_(?:add|sub|and|or|xor)|test_and_set)\s*\("
)
STATEMENT_END = re.compile(r"[;{}:]\s*$")
REMEDY = "Write `// sync NAME (side): why`, or `// relaxed: why`, on the line or directly above."


class Source:
    """A file's lines twice: as written, and without comments and literals."""

    def __init__(self, path, text):
        self.path, self.raw, self.code = path, text.splitlines(), lint.code_only(text).splitlines()

    def statement(self, index):
        """First and last line of the statement that line `index` belongs to."""
        first = last = index
        while first > 0 and self._goes_on(first - 1):
            first -= 1
        while last + 1 < len(self.code) and self._goes_on(last):
            last += 1
        return first, last

    def _goes_on(self, index):
        """Whether the code of line `index` is continued on the next line."""
        code = self.code[index].strip()
        return bool(code) and not code.startswith("#") and not STATEMENT_END.search(code)

    def is_comment(self, index):
        return index >= 0 and self.raw[index].lstrip().startswith("//")

    def tags_of(self, first, last):
        """The comments of a statement: within it, and the block directly above it."""
        above = first
        while self.is_comment(above - 1):
            above -= 1
        return [line for line in self.raw[above : last + 1] if "//" in line]

    def orders(self, first, last):
        """What is named from line first to last: orders such as 'relaxed', and 'fence'."""
        code = "\n".join(self.code[first : last + 1])
        return {match.group(1) or "fence" for match in ORDERED.finditer(code)}


def arguments(code, start):
    """The text from the opening parenthesis that ends at `start` to its partner."""
    depth = 1
    for end in range(start, len(code)):
        depth += {"(": 1, ")": -1}.get(code[end], 0)
        if depth == 0:
            return code[start:end]
    return code[start:]


def check_tags(source, ends):
    """Findings of one file; adds to ends[name] the sides seen, with the first place of each."""
    findings = []
    relaxed_until = -1  # last line of a run of relaxed statements that began with a tag
    index = 0
    while index < len(source.code):
        if not ORDERED.search(source.code[index]):
            index += 1
            continue
        first, last = source.statement(index)
        all_relaxed = source.orders(first, last) <= {"relaxed"}
        comments = source.tags_of(first, last)
        syncs = [match for line in comments for match in SYNC.finditer(line)]
        for match in syncs:
            side = match.group(2).removesuffix(" side").strip()
            for name in re.split(r", *", match.group(1)):
                ends.setdefault(name, {}).setdefault(side, (source.path, index + 1))
        tagged = bool(syncs)
        if all_relaxed and not tagged:
            tagged = any(RELAXED.search(line) for line in comments) or first == relaxed_until + 1
            relaxed_until = last if tagged else -1
        if not tagged:
            what = "a relaxed access" if all_relaxed else "a memory order"
            findings.append(lint.Finding(source.path, index + 1, f"{what} without its tag", REMEDY))
        index = last + 1
    return findings


def check_calls(source):
    """Calls on atomics that leave the order out, which makes them seq_cst without saying so."""
    code = "\n".join(source.code)
    for match in ATOMIC_CALL.finditer(code):
        if "order" not in arguments(code, match.end()):
            yield lint.Finding(
                source.path,
                code.count("\n", 0, match.start(1)) + 1,
                f".{match.group(1)}() without an explicit memory order",
                "Name the order, and tag it.",
            )


def check(root):
    findings, ends = [], {}
    for path, text in lint.source_files(root, FOLDERS):
        source = Source(path, text)
        findings += check_tags(source, ends)
        if path.startswith("shm/"):
            findings += check_calls(source)
    for name, sides in sorted(ends.items()):
        if len(sides) < 2:
            (side, (path, line)), = sides.items()
            findings.append(
                lint.Finding(
                    path,
                    line,
                    f"`sync {name}` has one end only ({side})",
                    "Tag the access that it pairs with, naming the other side; or correct the name.",
                )
            )
    return findings


if __name__ == "__main__":
    lint.main(check)
