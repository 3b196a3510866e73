#!/usr/bin/env python3
"""Copies the shared libraries that programs need, out of an unpacked Debian root into an image.

    libraries.py --root SYSROOT [--also FOLDER]… --into IMAGE FILE…

Follows NEEDED and the interpreter of each ELF file, and of what it finds. What a program loads by name at run time (plugins)
has to be among the FILEs. A library is looked for in the --also folders, then where the target's loader would look, and in
the folders of Debian's alternatives (blas, lapack), which an unpacked root lacks the links to. It lies in the image where the
loader looks without being told. Needs readelf. Prints nothing; a library that is not found is an error that names who needs it.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys

NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
INTERPRETER = re.compile(r"Requesting program interpreter: (.+)\]")


def read_elf(files):
    """Yields (file, names of what it needs, its interpreter or None)."""
    # --wide: one line for each fact; several files are headed by their names, one file is not.
    text = subprocess.run(["readelf", "--wide", "--dynamic", "--program-headers", *map(str, files), "/dev/null"],
                          capture_output=True, text=True, check=False).stdout
    parts = re.split(r"^File: (.+)$", text, flags=re.MULTILINE)
    for name, part in zip(parts[1::2], parts[2::2]):
        interpreter = INTERPRETER.search(part)
        yield pathlib.Path(name), NEEDED.findall(part), interpreter.group(1) if interpreter else None


def triplet_of(root):
    found = sorted(p.parent.name for p in root.glob("usr/lib/*-linux-*/libstdc++.so.6"))
    if len(found) != 1:
        sys.exit(f"libraries: {root} is no unpacked Debian root with one architecture's libstdc++6")
    return found[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--also", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--into", type=pathlib.Path, required=True)
    parser.add_argument("files", type=pathlib.Path, nargs="+", metavar="FILE")
    options = parser.parse_args()

    root = options.root
    triplet = triplet_of(root)
    folders = options.also + [root / "lib" / triplet, root / "usr/lib" / triplet, root / "lib", root / "usr/lib"]
    folders += [root / "usr/lib" / triplet / alternative for alternative in ("blas", "lapack")]
    target = options.into / "lib" / triplet
    target.mkdir(parents=True, exist_ok=True)

    seen = set()
    level = options.files
    while level:
        following = []
        for file, needed, interpreter in read_elf(level):
            if interpreter and interpreter not in seen:
                seen.add(interpreter)
                place = options.into / interpreter.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / interpreter.lstrip("/"), place)
            for name in needed:
                if name in seen or name.startswith("ld-linux"):  # that one comes as the interpreter
                    continue
                seen.add(name)
                found = next((folder / name for folder in folders if (folder / name).exists()), None)
                if found is None:
                    sys.exit(f"libraries: {file} needs {name}, which is not in {root}")
                shutil.copy(found, target / name)
                following.append(found)
        level = following


if __name__ == "__main__":
    main()
