"""Helps a check's own test: writes small trees and says where the check found something."""

import pathlib
import tempfile
import textwrap
import unittest


class CheckTest(unittest.TestCase):
    check = None  # set by the subclass, as staticmethod

    def run_on(self, files):
        """The findings of the check on a tree of {path: text}."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, text in files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
            return type(self).check(root)

    def assert_clean(self, files):
        self.assertEqual([str(f) for f in self.run_on(files)], [])

    def assert_found(self, files, *expected):
        """Each expected is (path:line, part of the message); exactly these are found, in this order."""
        findings = self.run_on(files)
        self.assertEqual([f"{f.path}:{f.line}" for f in findings], [where for where, _ in expected])
        for finding, (_, part) in zip(findings, expected):
            self.assertIn(part, str(finding))
