"""The recipes of Yocto, Buildroot and Debian agree with the tree: version, licence, options, dependencies, what is installed.

    recipes_test.py ROOT_OF_THE_REPOSITORY CMAKE BUILD_FOLDER

None of these systems is needed. What their own tools would find out beyond that, they find out when somebody uses them.
"""

import fnmatch
import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT, CMAKE, BUILD = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]

YOCTO = ROOT / "packaging/yocto/meta-sluice/recipes-sluice/sluice/sluice_git.bb"
BUILDROOT = ROOT / "packaging/buildroot"

# What CMake looks for, and the packages that have it: of Yocto, Buildroot, Debian. None: nothing to be named.
DEPENDENCIES = {
    "Threads": (None, None, None),
    "PkgConfig": ("pkgconfig", "host-pkgconf", "pkg-config"),
    "Boost": ("boost", "boost", "libboost-dev"),
    "flatbuffers": ("flatbuffers", "flatbuffers", "libflatbuffers-dev"),
    "flatc": ("flatbuffers-native", "host-flatbuffers", "flatbuffers-compiler"),
    "CLI11": ("cli11", "cli11", "libcli11-dev"),
    "Curses": ("ncurses", "ncurses", "libncurses-dev"),
    "libturbojpeg": ("libjpeg-turbo", "jpeg-turbo", "libturbojpeg0-dev"),
    "spdlog": ("spdlog", "spdlog", "libspdlog-dev"),
    "tomlplusplus": ("tomlplusplus", "tomlplusplus", "libtomlplusplus-dev"),
    "libsystemd": ("systemd", "systemd", "libsystemd-dev"),
    "SQLite3": ("sqlite3", "sqlite", "libsqlite3-dev"),
    "gstreamer-1.0": ("gstreamer1.0", "gstreamer1", "libgstreamer1.0-dev"),
    "gstreamer-base-1.0": ("gstreamer1.0", "gstreamer1", "libgstreamer1.0-dev"),
    "gstreamer-video-1.0": ("gstreamer1.0-plugins-base", "gst1-plugins-base", "libgstreamer-plugins-base1.0-dev"),
    "gstreamer-app-1.0": ("gstreamer1.0-plugins-base", "gst1-plugins-base", "libgstreamer-plugins-base1.0-dev"),
    "gstreamer-rtsp-server-1.0": ("gstreamer1.0-rtsp-server", "gst1-rtsp-server", "libgstrtspserver-1.0-dev"),
    "OpenCV": ("opencv", "opencv4", "libopencv-dev"),
    "iceoryx_posh": (None, None, "libiceoryx-posh-dev"),  # neither Yocto's layers nor Buildroot have it
    "nlohmann_json": ("nlohmann-json", "json-for-modern-cpp", "nlohmann-json3-dev"),
}
# What decides about the content of packages; the other options are for those who develop Sluice.
PARTS = {"SLUICE_SYSTEMD"} | {f"SLUICE_BUILD_{part}" for part in ("CAPTURE", "DAEMONS", "RECORDER", "TOOLS", "VISION")}


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def wanted_by_cmake():
    text = re.sub(r"#.*", "", read("cmake/SluiceDependencies.cmake"))
    yield from re.findall(r"find_package\((\w+)", text)
    yield from re.findall(r"find_program\(\w+ (\w+)", text)
    for modules in re.findall(r"pkg_check_modules\(\w+ ([^)]*)\)", text):
        for word in modules.split():
            if word not in ("REQUIRED", "IMPORTED_TARGET"):
                yield word.split(">=")[0]


def words(text):
    return set(re.findall(r"[\w.+-]+", text))


def installed():
    """The files of an installation of the build folder, as below /usr."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([CMAKE, "--install", BUILD, "--prefix", folder], check=True, stdout=subprocess.DEVNULL)
        root = pathlib.Path(folder)
        return sorted("/usr/" + p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir())


class Agreement(unittest.TestCase):
    version = ".".join(re.findall(r"#define SLUICE_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", read("include/sluice/version.hpp")))

    def test_the_version_is_the_same_everywhere(self):
        self.assertEqual(re.match(r"sluice \(([^)]+)\)", read("packaging/debian/changelog")).group(1), self.version)
        self.assertIn(f'PV = "{self.version}+git"', YOCTO.read_text())
        self.assertIn(f"\nSLUICE_VERSION = {self.version}\n", (BUILDROOT / "package/sluice/sluice.mk").read_text())

    def test_debian_s_libraries_are_called_as_programs_are_linked_to_them(self):
        major, minor, _ = self.version.split(".")
        soversion = f"0.{minor}" if major == "0" else major
        for library in ("libsluice", "libsluice-pipeline"):
            self.assertIn(f"\nPackage: {library}{soversion}\n", read("packaging/debian/control"))
            self.assertTrue((ROOT / f"packaging/debian/{library}{soversion}.install").exists())

    def test_the_licence_is_the_one_that_was_looked_at(self):
        checksum = hashlib.md5((ROOT / "LICENSE").read_bytes()).hexdigest()
        self.assertIn(f'LIC_FILES_CHKSUM = "file://LICENSE;md5={checksum}"', YOCTO.read_text())

    def test_options_exist_and_every_part_is_decided_about(self):
        known = set(re.findall(r"(?:option|set)\((SLUICE_\w+)", read("cmake/SluiceOptions.cmake")))
        self.assertLessEqual(PARTS, known)
        for recipe in (YOCTO, BUILDROOT / "package/sluice/sluice.mk"):
            given = set(re.findall(r"(SLUICE_(?:BUILD_[A-Z]+|SYSTEMD))\b", recipe.read_text()))
            self.assertEqual(given, PARTS, recipe.name)
        for path in ("packaging/debian/rules", "tools/package.sh"):
            self.assertLessEqual(set(re.findall(r"-D(SLUICE_\w+)=", read(path))), known, path)

    def test_what_cmake_looks_for_is_what_the_recipes_depend_on(self):
        recipes = (
            words(YOCTO.read_text()),
            words((BUILDROOT / "package/sluice/sluice.mk").read_text()),
            words(read("packaging/debian/control")),
        )
        found = set(wanted_by_cmake())
        self.assertGreater(len(found), 12)
        for name in found:
            self.assertIn(name, DEPENDENCIES, "a new dependency: name its packages here and in the recipes")
            for package, recipe in zip(DEPENDENCIES[name], recipes):
                self.assertTrue(package is None or package in recipe, f"{package}, which has {name}, is missing")
        self.assertEqual(set(DEPENDENCIES), found, "a dependency that is gone")

    def test_buildroot_selects_what_it_builds_before(self):
        config = (BUILDROOT / "package/sluice/Config.in").read_text()
        known = words(config) | {"BR2_PACKAGE_SYSTEMD"}
        makefile = (BUILDROOT / "package/sluice/sluice.mk").read_text()
        for name in words(makefile):
            if re.fullmatch(r"BR2_PACKAGE_\w+", name):
                self.assertIn(name, known)
        for package in ("boost", "flatbuffers", "json-for-modern-cpp", "cli11", "spdlog", "tomlplusplus", "jpeg-turbo",
                        "ncurses", "sqlite", "gstreamer1", "gst1-plugins-base", "gst1-rtsp-server", "opencv4"):  # fmt: skip
            self.assertIn(f"BR2_PACKAGE_{package.upper().replace('-', '_')}", known)
        tree = words((BUILDROOT / "Config.in").read_text())
        for part in (BUILDROOT / "package").iterdir():
            self.assertIn(part.name, tree)
            self.assertTrue((part / f"{part.name}.mk").exists() and (part / "Config.in").exists())


class Yocto(unittest.TestCase):
    text = YOCTO.read_text().replace("\\\n", " ")
    folders = {"bindir": "/usr/bin", "libdir": "/usr/lib", "nonarch_libdir": "/usr/lib", "datadir": "/usr/share",
               "sysconfdir": "/etc", "systemd_system_unitdir": "/usr/lib/systemd/system", "BPN": "sluice", "PN": "sluice"}  # fmt: skip
    # What bitbake's own packages take of what is left.
    defaults = ["/usr/include", "/usr/lib/lib*.so", "/usr/lib/pkgconfig", "/usr/share/man", "/usr/share/doc"]

    def expanded(self, text):
        return re.sub(r"\$\{(\w+)\}", lambda m: self.folders[m.group(1)], text)

    def takes(self, pattern, path):
        return fnmatch.fnmatch(path, pattern) or path.startswith(pattern.rstrip("/") + "/")

    def test_each_installed_file_is_in_a_package_and_each_pattern_finds_one(self):
        patterns = []
        for name, value in re.findall(r'^FILES:(\S+) \+?= "([^"]*)"', self.text, re.MULTILINE):
            packages = self.expanded(re.search(r'^PACKAGES =\+ "([^"]*)"', self.text, re.MULTILINE).group(1)).split()
            self.assertIn(self.expanded(name), packages + ["sluice-dev"])
            patterns += self.expanded(value).split()
        files = [path for path in installed() if "sluice-iceoryx" not in path]  # Debian's alone
        for path in files:
            self.assertTrue(any(self.takes(p, path) for p in patterns + self.defaults), f"{path} is in no package")
        configured = [f"/etc/sluice/{name}.toml" for name in ("sluiced", "sluice-recorder")]
        for path in configured:
            self.assertIn(path.replace("/etc", "${sysconfdir}"), self.text)
        cache = pathlib.Path(BUILD, "CMakeCache.txt").read_text()
        if all(f"{part}:BOOL=ON" in cache for part in PARTS):
            for pattern in patterns:
                self.assertTrue(any(self.takes(pattern, p) for p in files + configured), f"{pattern} finds nothing")

    def test_expressions_are_python(self):
        found = re.findall(r"\$\{@(.*?)\}", re.sub(r"\$\{(\w+)\}", r"\1", self.text))
        self.assertGreater(len(found), 3)
        for expression in found:
            compile(expression.strip(), "sluice_git.bb", "eval")

    def test_shell_functions_are_shell(self):
        for body in re.findall(r"^do_\w+:append\(\) \{\n(.*?)^\}", YOCTO.read_text(), re.MULTILINE | re.DOTALL):
            subprocess.run(["sh", "-n"], input=body, text=True, check=True)

    def test_the_users_are_those_of_systemd(self):
        for path in (ROOT / "packaging/systemd").glob("*.sysusers"):
            for user in re.findall(r"^u (\S+)", path.read_text(), re.MULTILINE):
                self.assertRegex(self.text, rf'USERADD_PARAM:\S+ = "[^"]* {user}"')
                self.assertRegex((BUILDROOT / "package/sluice/sluice.mk").read_text(), rf"\b{user} -1 {user} -1 ")


class Buildroot(unittest.TestCase):
    def evaluated(self, *chosen):
        """What the makefiles say to Buildroot, with these options chosen."""
        with tempfile.TemporaryDirectory() as folder:
            main = pathlib.Path(folder, "Makefile")
            main.write_text(
                "comma := ,\ngithub = https://github.invalid/$(1)/$(2)/$(3)\ndefine cmake-package\nSLUICE_PACKAGES += x\nendef\n"
                + f"BR2_EXTERNAL_SLUICE_PATH = {BUILDROOT}\n"
                + "".join(f"BR2_PACKAGE_{name} = y\n" for name in chosen)
                + f"include {BUILDROOT}/external.mk\n"
                + "".join(f"$(info $(SLUICE_{name}))\n" for name in ("CONF_OPTS", "DEPENDENCIES", "SITE", "PACKAGES", "USERS"))
                + "all: ;\n"
            )
            done = subprocess.run(["make", "--no-print-directory", "-s", "-C", folder],
                                  stdout=subprocess.PIPE, text=True, check=True)  # fmt: skip
            return done.stdout.splitlines()

    def test_each_part_is_switched_by_its_option(self):
        options, needed, site, packages, *users = self.evaluated()
        self.assertEqual(set(options.split()), {f"-D{part}=OFF" for part in PARTS})
        self.assertEqual(pathlib.Path(site), ROOT.resolve())
        self.assertEqual(packages.split(), ["x", "x"])
        self.assertNotIn("opencv4", needed)
        self.assertEqual("".join(users), "")
        chosen = ("SLUICE_BROKER", "SLUICE_TOOLS", "SLUICE_RECORDER", "SLUICE_CAPTURE", "SLUICE_VISION", "SYSTEMD")
        options, needed, _, _, *users = self.evaluated(*chosen)
        self.assertEqual(set(options.split()), {f"-D{part}=ON" for part in PARTS})
        for name in ("opencv4", "sqlite", "systemd", "gst1-rtsp-server", "tomlplusplus", "ncurses"):
            self.assertIn(name, needed.split())
        self.assertIn("sluice,video", " ".join(users))

    def test_the_init_script_is_shell_and_knows_its_verbs(self):
        script = BUILDROOT / "package/sluice/sluiced.init"
        subprocess.run(["sh", "-n", script], check=True)
        wrong = subprocess.run(["sh", script, "dance"], stdout=subprocess.PIPE, text=True, check=False)
        self.assertEqual((wrong.returncode, wrong.stdout.startswith("usage: ")), (1, True))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
