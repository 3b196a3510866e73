"""Every installed program has a manual page, which names the same options as its --help; sluice.1 names every verb; man
finds no fault with them, and what they refer to is there.

    man_test.py SLUICE FOLDER_OF_PAGES [PROGRAM...]
"""

import pathlib
import re
import shutil
import subprocess
import sys

sluice, folder, programs = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
wrong = []
listed = (folder / "CMakeLists.txt").read_text().replace("(", " ").split()


def said(*words, program=sluice):
    return subprocess.run([program, *words, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout


def options_of(help_text):
    return set(re.findall(r"(?:^|[\s,])(--?[a-z][a-z-]*)", help_text.split("\nExit", 1)[0].split("Examples:")[0]))


def named(page):
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", page.replace("\\-", "-").replace("\\fR", " ").replace("\\fB", " ")))


def described(page):
    return named(" ".join(re.findall(r"^\.TP\n\.B (\\-.*)$", page, re.MULTILINE)))


verbs = re.findall(r"^  ([a-z]+) ", said().split("\nOptions:", 1)[1].split("\n\n", 1)[1], re.MULTILINE)
if len(verbs) < 5:
    wrong.append(f"only {verbs} are found in --help")
main_page = (folder / "sluice.1").read_text()
for option in options_of(said()) - named(main_page):
    wrong.append(f"sluice.1 does not name {option}")
for verb in verbs:
    if not re.search(rf"sluice {verb}\b", main_page):
        wrong.append(f"sluice.1 does not name the verb {verb}")
    path = folder / f"sluice-{verb}.1"
    page = path.read_text() if path.exists() else main_page
    wanted = options_of(said(verb))
    for option in wanted - named(page):
        wrong.append(f"{path.name if path.exists() else 'sluice.1'} does not name {option} of {verb}")
    if path.exists():
        for option in described(page) - wanted:
            wrong.append(f"{path.name} describes {option}, which {verb} --help does not know")

for program in map(pathlib.Path, programs):
    pages = list(folder.glob(f"{program.name}.[18]"))
    if len(pages) != 1:
        wrong.append(f"{program.name} has {len(pages)} manual pages")
        continue
    page = pages[0].read_text()
    wanted = options_of(said(program=program))
    for option in sorted((wanted | described(page)) - (wanted & described(page))):
        wrong.append(f"{option} of {program.name} is {'not in' if option in wanted else 'only in'} {pages[0].name}")

for path in sorted(folder.glob("*.[158]")):
    if path.name not in listed:
        wrong.append(f"{path.name} is not installed")
    for name, section in re.findall(r"^\.BR (sluice\S*) \((\d)\)", path.read_text().replace("\\-", "-"), re.MULTILINE):
        if not (folder / f"{name}.{section}").exists():
            wrong.append(f"{path.name} refers to {name}({section}), which is not there")

if shutil.which("man"):
    for path in sorted(folder.glob("*.[158]")):
        done = subprocess.run(["man", "--warnings", "-l", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "MANWIDTH": "80"})  # fmt: skip
        if done.returncode != 0 or done.stderr:
            wrong.append(f"{path.name}: {done.stderr or done.returncode}")

for sentence in wrong:
    print(f"man_test: {sentence}", file=sys.stderr)
sys.exit(1 if wrong else 0)
