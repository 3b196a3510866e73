"""What memory_order.py must report, and what it must let pass."""

import unittest

import memory_order
import selftest

# A protocol with both ends, to stand beside the case in question.
PAIR = """
    // sync pub (writer side): the payload is complete before its sequence.
    s.store(1, std::memory_order_release);
    // sync pub (reader side): what was written before the sequence is seen.
    s.load(std::memory_order_acquire);
    """


class MemoryOrderTest(selftest.CheckTest):
    check = staticmethod(memory_order.check)

    def test_tags_on_the_line_and_above_it_count(self):
        self.assert_clean(
            {
                "shm/a.cpp": """
                    // sync claim (reader side): the bit is seen before we look again,
                    // whatever the processor would like.
                    std::atomic_thread_fence(std::memory_order_seq_cst);
                    n.load(std::memory_order_relaxed);  // relaxed: we alone write it
                    """,
                "transport/b.cpp": """
                    std::atomic_thread_fence(std::memory_order_seq_cst);  // sync claim (publisher side): see 3
                    """,
            }
        )

    def test_a_statement_over_several_lines_needs_one_tag(self):
        self.assert_clean(
            {
                "shm/a.cpp": PAIR
                + """
                    // sync pub (writer side): as above
                    const bool done = word.compare_exchange_strong(
                        expected, wanted,
                        std::memory_order_acq_rel,
                        std::memory_order_acquire);
                    """
            }
        )

    def test_one_relaxed_tag_holds_for_consecutive_lines(self):
        self.assert_clean(
            {
                "shm/a.cpp": """
                    // relaxed: ordered by the sequence
                    a.store(1, std::memory_order_relaxed);
                    b.store(2,
                            std::memory_order_relaxed);
                    c.store(3, std::memory_order_relaxed);
                    """
            }
        )

    def test_a_relaxed_tag_ends_at_an_empty_line(self):
        self.assert_found(
            {
                "shm/a.cpp": """
                    // relaxed: ordered by the sequence
                    a.store(1, std::memory_order_relaxed);

                    b.store(2, std::memory_order_relaxed);
                    """
            },
            ("shm/a.cpp:4", "a relaxed access without its tag"),
        )

    def test_a_missing_tag_is_found(self):
        self.assert_found(
            {
                "shm/a.cpp": "a.load(std::memory_order_acquire);\n",
                "transport/b.hpp": "// why not\na.load(std::memory_order::relaxed);\n",
                "transport/c.cpp": "std::atomic_thread_fence(order);\n",
            },
            ("shm/a.cpp:1", "a memory order without its tag"),
            ("transport/b.hpp:2", "a relaxed access without its tag"),
            ("transport/c.cpp:1", "a memory order without its tag"),
        )

    def test_a_comment_separated_by_code_or_an_empty_line_does_not_count(self):
        self.assert_found(
            {
                "shm/a.cpp": PAIR
                + """
                    // sync pub (writer side): why
                    int other = 0;
                    a.store(1, std::memory_order_release);
                    // sync pub (writer side): why

                    a.store(1, std::memory_order_release);
                    """
            },
            ("shm/a.cpp:8", "without its tag"),
            ("shm/a.cpp:11", "without its tag"),
        )

    def test_relaxed_is_no_tag_for_a_stronger_order(self):
        self.assert_found(
            {"shm/a.cpp": "a.load(std::memory_order_acquire);  // relaxed: surely fine\n"},
            ("shm/a.cpp:1", "a memory order without its tag"),
        )

    def test_a_tag_without_a_reason_or_a_side_does_not_count(self):
        self.assert_found(
            {
                "shm/a.cpp": PAIR
                + """
                    a.load(std::memory_order_acquire);  // sync pub (reader side):
                    a.load(std::memory_order_acquire);  // sync pub: why
                    a.load(std::memory_order_relaxed);  // relaxed:
                    """
            },
            ("shm/a.cpp:6", "without its tag"),
            ("shm/a.cpp:7", "without its tag"),
            ("shm/a.cpp:8", "without its tag"),
        )

    def test_a_protocol_with_one_end_is_found(self):
        self.assert_found(
            {
                "shm/a.cpp": "a.load(std::memory_order_acquire);  // sync wake (reader side): x\n",
                "shm/b.cpp": "a.load(std::memory_order_acquire);  // sync wake (reader): the same side again\n",
            },
            ("shm/a.cpp:1", "`sync wake` has one end only (reader)"),
        )

    def test_one_access_may_be_an_end_of_several_protocols(self):
        self.assert_found(
            {
                "shm/a.cpp": PAIR + "a.store(1, std::memory_order_seq_cst);  // sync pub, wake (writer): x\n",
            },
            ("shm/a.cpp:5", "`sync wake` has one end only (writer)"),
        )

    def test_an_order_left_out_is_found_in_shm(self):
        self.assert_found(
            {
                "shm/a.cpp": """
                    x = word.load();
                    page->word.store(
                        compute(1, 2));
                    word.fetch_add(1);
                    word.load(order);
                    """,
                "transport/b.cpp": "settings.load();\n",
            },
            ("shm/a.cpp:1", ".load() without an explicit memory order"),
            ("shm/a.cpp:2", ".store() without an explicit memory order"),
            ("shm/a.cpp:4", ".fetch_add() without an explicit memory order"),
        )

    def test_comments_and_literals_are_not_code(self):
        self.assert_clean(
            {
                "shm/a.cpp": """
                    // a.load(std::memory_order_acquire) would be wrong here: word.load()
                    const char* text = "std::memory_order_acquire, x.load()";
                    /* std::memory_order_release */
                    """
            }
        )


if __name__ == "__main__":
    unittest.main()
