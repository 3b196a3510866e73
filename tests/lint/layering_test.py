"""What layering.py must report, and what it must let pass."""

import unittest

import layering
import selftest


class LayeringTest(selftest.CheckTest):
    check = staticmethod(layering.check)

    def test_each_folder_may_use_what_lies_below_it(self):
        self.assert_clean(
            {
                "include/sluice/node.hpp": '#include <span>\n#include "sluice/result.hpp"\n',
                "shm/pool.cpp": """
                    #include "shm/pool.hpp"
                    #include "sluice/options.hpp"
                    #include <boost/interprocess/mapped_region.hpp>
                    #include <linux/futex.h>
                    #include <sys/mman.h>
                    #include <unistd.h>
                    #include <atomic>
                    """,
                "transport/node.cpp": '#include "shm/pool.hpp"\n#include "sluice/node.hpp"\n#include "transport/x.hpp"\n',
                "pipeline/stage.cpp": '#include "transport/node.hpp"\n#include <opencv2/core.hpp>\n#include <gst/gst.h>\n',
                "tools/sluice/top.cpp": '#include "shm/pool.hpp"\n#include "daemons/run/child.hpp"\n#include <spdlog/spdlog.h>\n#include <CLI/CLI.hpp>\n',
                "examples/hello.cpp": '#include "sluice/node.hpp"\n',
            }
        )

    def test_nothing_points_upwards(self):
        self.assert_found(
            {
                "shm/a.cpp": '#include <atomic>\n#include "transport/node.hpp"\n',
                "transport/b.cpp": '#include "pipeline/stage.hpp"\n',
                "pipeline/c.cpp": '#include "tools/sluice/verb.hpp"\n',
                "daemons/d.cpp": '#include "tools/sluice/verb.hpp"\n',
            },
            ("shm/a.cpp:2", 'shm/ must not include "transport/node.hpp"'),
            ("transport/b.cpp:1", 'transport/ must not include "pipeline/stage.hpp"'),
            ("pipeline/c.cpp:1", 'pipeline/ must not include "tools/sluice/verb.hpp"'),
            ("daemons/d.cpp:1", 'daemons/ must not include "tools/sluice/verb.hpp"'),
        )

    def test_angle_brackets_are_no_way_around(self):
        self.assert_found(
            {"shm/a.cpp": "#include <transport/node.hpp>\n"}, ("shm/a.cpp:1", "shm/ must not include")
        )

    def test_product_code_does_not_use_tests(self):
        self.assert_found({"shm/a.cpp": '#include "tests/x.hpp"\n'}, ("shm/a.cpp:1", "must not include"))

    def test_shm_knows_only_the_basic_public_headers(self):
        self.assert_found(
            {"shm/a.hpp": '#include "sluice/result.hpp"\n#include "sluice/node.hpp"\n'},
            ("shm/a.hpp:2", 'shm/ must not include "sluice/node.hpp"'),
        )

    def test_shm_uses_no_third_party_but_boost_interprocess(self):
        self.assert_found(
            {"shm/a.cpp": "#include <boost/asio.hpp>\n#include <nlohmann/json.hpp>\n"},
            ("shm/a.cpp:1", "<boost/asio.hpp>"),
            ("shm/a.cpp:2", "<nlohmann/json.hpp>"),
        )

    def test_public_headers_use_neither_third_parties_nor_the_system_nor_internals(self):
        self.assert_found(
            {
                "include/sluice/a.hpp": """
                    #pragma once
                    #include <boost/interprocess/mapped_region.hpp>
                    #include <unistd.h>
                    #include "shm/pool.hpp"
                    """
            },
            ("include/sluice/a.hpp:2", "a public header must not include <boost"),
            ("include/sluice/a.hpp:3", "a public header must not include <unistd.h>"),
            ("include/sluice/a.hpp:4", 'include/ must not include "shm/pool.hpp"'),
        )

    def test_an_adapter_includes_its_own_third_party_and_no_other(self):
        self.assert_clean({"include/sluice/opencv.hpp": '#include <opencv2/core.hpp>\n#include "sluice/frame.hpp"\n'})
        self.assert_found(
            {
                "include/sluice/opencv.hpp": "#include <gst/gst.h>\n",
                "include/sluice/frame.hpp": '#include <opencv2/core.hpp>\n#include "sluice/opencv.hpp"\n',
            },
            ("include/sluice/frame.hpp:1", "a public header must not include <opencv2/core.hpp>"),
            ("include/sluice/frame.hpp:2", 'a public header must not include "sluice/opencv.hpp"'),
            ("include/sluice/opencv.hpp:1", "a public header must not include <gst/gst.h>"),
        )

    def test_examples_use_the_public_headers_only(self):
        self.assert_found(
            {"examples/a.cpp": '#include "shm/pool.hpp"\n'}, ("examples/a.cpp:1", "examples/ must not include")
        )

    def test_gstreamer_opencv_and_spdlog_stay_where_they_belong(self):
        self.assert_found(
            {"transport/a.cpp": "#include <gst/gst.h>\n#include <opencv2/core.hpp>\n#include <spdlog/spdlog.h>\n"},
            ("transport/a.cpp:1", "gst is for daemons, pipeline"),
            ("transport/a.cpp:2", "opencv2 is for daemons, pipeline"),
            ("transport/a.cpp:3", "spdlog is for daemons, tools"),
        )

    def test_includes_start_at_the_root(self):
        self.assert_found(
            {"shm/a.cpp": '#include "pool.hpp"\n#include "../transport/node.hpp"\n'},
            ("shm/a.cpp:1", '"pool.hpp" does not start at the root'),
            ("shm/a.cpp:2", "does not start at the root"),
        )

    def test_an_include_through_a_macro_is_reported(self):
        self.assert_found({"shm/a.cpp": "#include HEADER\n"}, ("shm/a.cpp:1", "cannot be read"))

    def test_comments_are_not_includes(self):
        self.assert_clean({"shm/a.cpp": '// #include "tools/x.hpp"\n/*\n#include "tools/x.hpp"\n*/\n'})


if __name__ == "__main__":
    unittest.main()
