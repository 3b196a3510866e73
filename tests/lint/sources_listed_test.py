"""What sources_listed.py must report, and what it must let pass."""

import unittest

import selftest
import sources_listed


class SourcesListedTest(selftest.CheckTest):
    check = staticmethod(sources_listed.check)

    def test_listed_files_and_internal_headers_pass(self):
        self.assert_clean(
            {
                "shm/CMakeLists.txt": "add_library(x a.cpp)",
                "shm/a.cpp": "",
                "shm/a.hpp": "",
                "include/CMakeLists.txt": "set(h sluice/a.hpp)",
                "include/sluice/a.hpp": "",
            }
        )

    def test_a_name_with_a_variable_counts_for_the_words_that_stand_there(self):
        lists = "function(peer family)\n  add_executable(x peer_${family}.cpp)\nendfunction()\npeer(raw)\n"
        self.assert_found(
            {"tests/bench/CMakeLists.txt": lists, "tests/bench/peer_raw.cpp": "", "tests/bench/peer_zmq.cpp": ""},
            ("tests/bench/peer_zmq.cpp:1", "in no CMakeLists.txt"),
        )

    def test_a_file_of_another_folder_may_be_listed(self):
        self.assert_clean(
            {"tests/stress/CMakeLists.txt": "sluice_test(x SOURCES ../support/a.cpp)", "tests/support/a.cpp": ""}
        )

    def test_a_forgotten_source_is_found(self):
        self.assert_found(
            {"shm/CMakeLists.txt": "add_library(x a.cpp)", "shm/a.cpp": "", "shm/b.cpp": ""},
            ("shm/b.cpp:1", "in no CMakeLists.txt"),
        )

    def test_a_forgotten_public_header_is_found(self):
        self.assert_found(
            {"include/CMakeLists.txt": "set(h sluice/a.hpp)", "include/sluice/b.hpp": ""},
            ("include/sluice/b.hpp:1", "in no CMakeLists.txt"),
        )

    def test_a_name_that_only_ends_alike_does_not_count(self):
        self.assert_found(
            {"shm/CMakeLists.txt": "add_library(x big_pool.cpp)", "shm/big_pool.cpp": "", "shm/pool.cpp": ""},
            ("shm/pool.cpp:1", "in no CMakeLists.txt"),
        )


if __name__ == "__main__":
    unittest.main()
