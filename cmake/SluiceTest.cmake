# sluice_test(): one GoogleTest program. sluice_fuzzer(): one libFuzzer target.
#
# Both take part in the target `sluice_tests`, so that a sanitizer build can make the tests and nothing
# else, and both put SLUICE_TEST_PREFIX before their names.
include(GoogleTest)

add_custom_target(sluice_tests)

# sluice_test(<name> SOURCES <file>… LABELS <label>…
#             [LIBRARIES <target>…]  beside GoogleTest and Sluice's internals
#             [TIMEOUT <seconds>]    default 60; 3600 for what is labelled long
#             [ONLY_SHM]             nothing above shm/ is needed: the ThreadSanitizer build makes no more
#             [KILL_POINTS]          link the copy of shm/ with kill points; no such test without
#                                    SLUICE_KILL_POINTS
#             [BESIDE_OTHERS]        other tests may run at the same time: waits more than it works
#             [OWN_MAIN])            the sources bring main(), for programs that start themselves again
#
# Labels: unit, conformance, stress, process say which suite; long keeps a test out of the ordinary run
# (tools/test.sh --long). The first label stands in the test's name.
#
# A unit or conformance program becomes one ctest entry per test case, or one with SLUICE_TEST_CASES off:
# starting a sanitized program takes longer than most cases. The others fork, fill the machine and share
# what they set up: one entry per program, and no other test beside it, unless it says BESIDE_OTHERS.
function(sluice_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "KILL_POINTS;ONLY_SHM;BESIDE_OTHERS;OWN_MAIN"
                        "TIMEOUT" "SOURCES;LABELS;LIBRARIES")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES OR NOT arg_LABELS)
    message(FATAL_ERROR "sluice_test(${name}): SOURCES and LABELS, not '${arg_UNPARSED_ARGUMENTS}'")
  endif()
  if(arg_KILL_POINTS AND NOT SLUICE_KILL_POINTS)
    return()
  endif()

  add_executable(${name} ${arg_SOURCES})
  if(arg_KILL_POINTS)
    target_link_libraries(${name} PRIVATE sluice_internal_killpoints)
  elseif(arg_ONLY_SHM)
    target_link_libraries(${name} PRIVATE sluice_internal_shm)
  else()
    target_link_libraries(${name} PRIVATE sluice_internal)
  endif()
  if(arg_OWN_MAIN)
    target_link_libraries(${name} PRIVATE GTest::gtest)
  else()
    target_link_libraries(${name} PRIVATE GTest::gtest_main)
  endif()
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES})
  target_compile_options(${name} PRIVATE ${SLUICE_TEST_OPTIMIZATION})
  list(GET arg_LABELS 0 suite)
  if(SLUICE_TEST_OPTIMIZATION AND suite STREQUAL "stress") # finds the more the faster it is
    target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  endif()
  list(LENGTH arg_SOURCES count)
  if(count EQUAL 1)
    set_target_properties(${name} PROPERTIES UNITY_BUILD OFF) # nothing to gain
  endif()
  # What tests include is half of what they cost to compile. GStreamer wants -pthread, which they are not compiled with.
  if(TARGET sluice_test_headers AND NOT arg_ONLY_SHM AND NOT arg_KILL_POINTS AND NOT "sluice_gstreamer" IN_LIST arg_LIBRARIES)
    target_precompile_headers(${name} REUSE_FROM sluice_test_headers)
  elseif(count GREATER 3 AND NOT CMAKE_UNITY_BUILD)
    target_precompile_headers(${name} PRIVATE <gtest/gtest.h>)
  endif()
  add_dependencies(sluice_tests ${name})

  set(in_cases OFF)
  set(serial ON)
  if(suite MATCHES "^(unit|conformance)$")
    set(in_cases ${SLUICE_TEST_CASES})
    set(serial OFF)
  elseif(arg_BESIDE_OTHERS)
    set(serial OFF)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
    if("long" IN_LIST arg_LABELS)
      set(arg_TIMEOUT 3600)
    elseif(NOT in_cases AND NOT serial)
      set(arg_TIMEOUT 600) # for all of the cases
    endif()
  endif()
  if(CMAKE_CROSSCOMPILING) # emulated, at a tenth of the speed
    math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 5")
  endif()
  if(in_cases)
    # PRE_TEST: a build does not run what it has built, which a cross build may not even be able to.
    gtest_discover_tests(
      ${name}
      TEST_PREFIX "${SLUICE_TEST_PREFIX}${suite}."
      DISCOVERY_MODE PRE_TEST
      DISCOVERY_TIMEOUT 60
      PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT})
  else()
    set(test ${SLUICE_TEST_PREFIX}${suite}.${name})
    add_test(NAME ${test} COMMAND ${name})
    set_tests_properties(${test} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT}
                                             RUN_SERIAL ${serial})
  endif()
endfunction()

# sluice_fuzzer(<name> SOURCES <file>… [CORPUS <folder>] [LIBRARIES <target>…])
#
# Two tests, fuzz.<name> for 4 seconds, to see that the corpus passes and the fuzzer works, and fuzz.<name>.long
# for 10 minutes. What libFuzzer finds new goes into the build folder, and the next run begins with it; CORPUS
# is only read.
function(sluice_fuzzer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "CORPUS" "SOURCES;LIBRARIES")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "sluice_fuzzer(${name}): SOURCES, not '${arg_UNPARSED_ARGUMENTS}'")
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE sluice_internal ${arg_LIBRARIES})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(sluice_tests ${name})

  set(found ${CMAKE_CURRENT_BINARY_DIR}/${name}.found)
  file(MAKE_DIRECTORY ${found})
  if(arg_CORPUS)
    cmake_path(ABSOLUTE_PATH arg_CORPUS BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  endif()
  foreach(run "4;" "600;.long")
    list(POP_FRONT run seconds)
    set(test ${SLUICE_TEST_PREFIX}fuzz.${name}${run})
    add_test(NAME ${test} COMMAND ${name} -max_total_time=${seconds} -timeout=5 -rss_limit_mb=2048
                                  -print_final_stats=1 -artifact_prefix=${found}- ${found} ${arg_CORPUS})
    math(EXPR timeout "${seconds} * 2 + 60")
    set_tests_properties(${test} PROPERTIES LABELS "fuzz" TIMEOUT ${timeout})
    if(run)
      set_tests_properties(${test} PROPERTIES LABELS "fuzz;long")
    endif()
  endforeach()
endfunction()
