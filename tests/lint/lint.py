"""What the checks in this folder share: finding files, telling code from comments, reporting."""

import pathlib
import re
import sys

SOURCE_SUFFIXES = {".hpp", ".cpp", ".h", ".c"}


class Finding:
    """One thing that is wrong: where, which rule it breaks, and what to do about it."""

    def __init__(self, path, line, rule, remedy):
        self.path, self.line, self.rule, self.remedy = path, line, rule, remedy

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}. {self.remedy}"


def source_files(root, folders):
    """C++ files below the given folders, as (path relative to root, text)."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCE_SUFFIXES:
                yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


_COMMENT_OR_LITERAL = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL
)


def code_only(text):
    """The text with comments and string literals blanked out; every line keeps its number.

    A digit separator (1'000) is no literal: it follows a digit or letter.
    """

    def blank(match):
        start = match.start()
        if match.group()[0] == "'" and start and (text[start - 1].isalnum()):
            return match.group()
        return re.sub(r"[^\n]", " ", match.group())

    return _COMMENT_OR_LITERAL.sub(blank, text)


def main(check):
    """Runs check(root) for the folder named on the command line; exit code 1 when it found something."""
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_dir():
        sys.exit(f"usage: {sys.argv[0]} <root of the repository>")
    findings = check(pathlib.Path(sys.argv[1]))
    for finding in findings:
        print(finding)
    print(f"{len(findings)} finding(s)")
    sys.exit(1 if findings else 0)
