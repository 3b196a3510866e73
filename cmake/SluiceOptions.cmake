# What a build contains is said here and nowhere else. Nothing switches itself on or off because of what
# happens to be installed: an option that is on and lacks its packages is an error.

option(SLUICE_SHARED "Build libsluice and libsluice_pipeline as shared libraries" ON)
option(SLUICE_BUILD_TOOLS "Build the program `sluice`" ON)
option(SLUICE_BUILD_DAEMONS "Build the broker `sluiced`" ON)
option(SLUICE_BUILD_CAPTURE "Build `sluice-capture`; needs GStreamer and SLUICE_BUILD_DAEMONS" OFF)
option(SLUICE_BUILD_VISION "Build `sluice-detect`, `sluice-recognize` and `sluice-annotate`; needs OpenCV and \
SLUICE_BUILD_DAEMONS" OFF)
option(SLUICE_BUILD_RECORDER "Build `sluice-recorder`; needs SQLite and SLUICE_BUILD_DAEMONS" OFF)
option(SLUICE_BUILD_ICEORYX "Build `sluice-iceoryx`; needs iceoryx 2.0 and SLUICE_BUILD_DAEMONS" OFF)
option(SLUICE_SYSTEMD "The daemons take their socket from systemd, tell it how they are, and bring units; needs libsystemd" ON)
option(SLUICE_BUILD_EXAMPLES "Build examples/" OFF)
option(SLUICE_BUILD_TESTS "Build the suites named in SLUICE_TEST_SUITES" OFF)
option(SLUICE_BUILD_FUZZERS "Build the libFuzzer targets; needs clang and SLUICE_BUILD_TESTS" OFF)
option(SLUICE_BUILD_BENCHMARKS "Build tests/bench/; needs SLUICE_BUILD_RECORDER" OFF)
option(SLUICE_KILL_POINTS "Build a second copy of shm/, and of some of transport/bus/ and daemons/recorder/, that can be \
killed at named points, for the process tests; the libraries never contain them" OFF)

option(SLUICE_COVERAGE "Count the lines and branches of the state machines that tests pass, for tools/coverage.sh" OFF)

option(SLUICE_SMALL "Optimise for size, all but shm/, where frames and messages move; leave out what nobody calls" OFF)

set(SLUICE_TEST_SUITES unit conformance stress process abi mixed tools lint consumer model packaging image CACHE STRING
    "Folders of tests/ to build and run")
set(SLUICE_TEST_OPTIMIZATION "" CACHE STRING
    "Compiler option for the code of the tests alone, as -O1: it is compiled more often than it runs")
set(SLUICE_MIXED_WITH "" CACHE STRING
    "Build folders, for this machine or another architecture, whose broker and programs take part in tests/mixed")
option(SLUICE_TEST_CASES "A ctest entry for each case of the unit and conformance tests, not for each program" ON)
set(SLUICE_TEST_PREFIX "" CACHE STRING
    "Put before the name of each test, so that several build folders can report in one ctest run")

if(SLUICE_KILL_POINTS AND NOT SLUICE_BUILD_TESTS)
  message(FATAL_ERROR "SLUICE_KILL_POINTS serves the tests only: switch SLUICE_BUILD_TESTS on too.")
endif()
if(SLUICE_BUILD_FUZZERS AND NOT SLUICE_BUILD_TESTS)
  message(FATAL_ERROR "SLUICE_BUILD_FUZZERS needs SLUICE_BUILD_TESTS.")
endif()
if(SLUICE_BUILD_FUZZERS AND NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "SLUICE_BUILD_FUZZERS needs clang (libFuzzer); use `cmake --preset fuzz`.")
endif()

if((SLUICE_BUILD_CAPTURE OR SLUICE_BUILD_VISION OR SLUICE_BUILD_RECORDER OR SLUICE_BUILD_ICEORYX)
   AND NOT SLUICE_BUILD_DAEMONS)
  message(FATAL_ERROR "SLUICE_BUILD_CAPTURE, SLUICE_BUILD_VISION, SLUICE_BUILD_RECORDER and SLUICE_BUILD_ICEORYX need \
SLUICE_BUILD_DAEMONS.")
endif()
if(SLUICE_BUILD_BENCHMARKS AND NOT SLUICE_BUILD_RECORDER)
  message(FATAL_ERROR "SLUICE_BUILD_BENCHMARKS needs SLUICE_BUILD_RECORDER.")
endif()

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  message(FATAL_ERROR "Say -DCMAKE_BUILD_TYPE=… or use a preset: `cmake --list-presets`.")
endif()

if(SLUICE_SHARED)
  set(SLUICE_LIBRARY_KIND SHARED)
else()
  set(SLUICE_LIBRARY_KIND STATIC)
endif()

# For all of our own targets. -Werror stands in the presets only: a newer compiler's new warning must
# not keep anybody from building a release.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON) # one set of objects serves the shared and the static library
add_compile_options(-Wall -Wextra -Wshadow -Wconversion)

# For what lies on the path of every message. GCC's generic tuning clears a Message (240 bytes) with
# `rep stos`, which takes longer to begin than plain stores take to end; these run on every x86-64.
set(SLUICE_PATH_OPTIONS "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(SLUICE_PATH_OPTIONS -mtune=skylake)
endif()

# Half of the size, on a device whose memory is small.
if(SLUICE_SMALL)
  add_compile_options($<$<CONFIG:Release>:-Os> -ffunction-sections -fdata-sections)
  add_link_options(LINKER:--gc-sections)
endif()

# CMAKE_UNITY_BUILD: the compiler reads several sources of a target as one, and what they include once:
# half the time. The presets that CI builds do so; bench, debug, tidy and the other Arm ones compile each source
# by itself, as users do, and so notice a missing #include. Sources that give one name to two things
# cannot be read together; the compiler says so, and sluice_alone() exempts one of them.
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-subobject-linkage) # warns of anonymous namespaces outside the main file
endif()

# What libFuzzer sees its way by, in all that is fuzzed; tests/CMakeLists.txt leaves it out of the other tests.
if(SLUICE_BUILD_FUZZERS)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# sluice_state_machines(<source>…), of the same CMakeLists.txt: decisions without clocks, messages and sockets,
# whose tests pass every line and branch; tools/coverage.sh sees to that. At -O0, where a branch is what was written.
if(SLUICE_COVERAGE)
  add_link_options(--coverage)
endif()
function(sluice_state_machines)
  if(SLUICE_COVERAGE)
    sluice_alone(${ARGN})
    set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "--coverage;-O0;-fno-inline")
  endif()
endfunction()

# sluice_alone(<source>…): of the targets of the same CMakeLists.txt.
function(sluice_alone)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()
