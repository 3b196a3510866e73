"""What the shared libraries export, and who uses what is private (docs/adr/0015-private-symbols.md).

    exports_test.py READELF VERSION LIBRARIES PROGRAMS USERS      comma separated files; USERS: programs as others write them

A symbol without a version would be exported by accident; a private one that users need would break them with the next build.
"""

import re
import subprocess
import sys
import unittest

READELF, VERSION = sys.argv[1:3]
LIBRARIES, PROGRAMS, USERS = (files.split(",") for files in sys.argv[3:6])
PRIVATE = f"SLUICE_PRIVATE_{VERSION}"
PUBLIC = "SLUICE_" + (".".join(VERSION.split(".")[:2]) if VERSION.startswith("0.") else VERSION.split(".")[0])
INNER = re.compile(r"^_ZNK?6sluice(3shm|9transport|3bus|8pipeline)")


def readelf(*arguments):
    return subprocess.run([READELF, "--wide", *arguments], check=True, capture_output=True, text=True).stdout


def symbols(file):
    """(name, version, whether it is defined here) of all that others can see."""
    for line in readelf("--dyn-syms", file).splitlines():
        columns = line.split()
        if len(columns) < 8 or columns[4] not in ("GLOBAL", "WEAK", "UNIQUE") or columns[5] != "DEFAULT":
            continue
        name, _, version = columns[7].partition("@")
        yield name, version.lstrip("@"), columns[6] not in ("UND", "ABS")


class Exports(unittest.TestCase):
    def test_each_symbol_is_public_or_private_by_its_namespace(self):
        for library in LIBRARIES:
            exported = [(name, version) for name, version, defined in symbols(library) if defined]
            self.assertGreater(len(exported), 20, library)
            for name, version in exported:
                self.assertEqual(version, PRIVATE if INNER.search(name) else PUBLIC, f"{library}: {name}")

    def test_programs_share_the_library_and_say_of_which_version(self):
        for program in PROGRAMS:
            self.assertIn("[libsluice.so.", readelf("--dynamic", program), program)
            self.assertFalse([name for name, _, defined in symbols(program) if defined and INNER.search(name)], program)
        self.assertTrue(any(PRIVATE in readelf("--version-info", program) for program in PROGRAMS))

    def test_nobody_else_needs_what_is_private(self):
        for user in USERS:
            needed = readelf("--version-info", user)
            self.assertIn(PUBLIC, needed, user)
            self.assertNotIn(PRIVATE, needed, user)

    def test_the_broker_does_without_the_pipeline_library(self):
        broker = next(program for program in PROGRAMS if program.endswith("/sluiced"))
        self.assertNotIn("libsluice_pipeline", readelf("--dynamic", broker))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
