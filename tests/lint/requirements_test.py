"""What requirements.py must report, and what it must let pass."""

import unittest

import requirements
import selftest


class RequirementsTest(selftest.CheckTest):
    check = staticmethod(requirements.check)

    def tree(self, page):
        return {
            "docs/requirements.md": page,
            "tests/bench/workload.cpp": 'Workload{.id = "cell-one"}',
            "tests/unit/a_test.cpp": "TEST(Plain, Works) {}\nTEST_F(Fixture,\n       Works) {}\nTEST_P(Each, Works) {}\n",
        }

    def test_what_exists_passes(self):
        self.assert_clean(self.tree("`Plain.Works`, `Fixture.Works`, `Each.Works`, `cell:cell-one`, `include/x.hpp`"))

    def test_what_does_not_exist_is_found(self):
        found = self.run_on(self.tree("fine\n`Plain.Other` and `cell:two`\n"))
        self.assertEqual([finding.line for finding in found], [2, 2])


if __name__ == "__main__":
    unittest.main()
