# Every third-party package, all from Debian 12 (`tools/setup.sh` installs them). GoogleTest is looked for
# in tests/, Google Benchmark and the peers of the benchmarks in tests/bench/.

find_package(Threads REQUIRED)
find_package(Boost 1.74 REQUIRED) # headers only: Boost.Interprocess
# Headers only as well. Debian's file is FlatBuffersConfig.cmake, upstream's flatbuffers-config.cmake.
find_package(flatbuffers NAMES flatbuffers FlatBuffers CONFIG REQUIRED)
find_program(SLUICE_FLATC flatc REQUIRED)

if(SLUICE_BUILD_TOOLS OR SLUICE_BUILD_DAEMONS)
  find_package(CLI11 2.1 REQUIRED)
endif()
if(SLUICE_BUILD_TOOLS)
  set(CURSES_NEED_NCURSES TRUE)
  set(CURSES_NEED_WIDE TRUE)
  find_package(Curses REQUIRED)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(turbojpeg REQUIRED IMPORTED_TARGET libturbojpeg)
endif()
if(SLUICE_BUILD_DAEMONS)
  find_package(spdlog 1.10 REQUIRED)
  find_package(tomlplusplus 3.3 CONFIG REQUIRED)
  add_library(sluice_systemd INTERFACE)
  if(SLUICE_SYSTEMD)
    find_package(PkgConfig REQUIRED)
    pkg_check_modules(systemd REQUIRED IMPORTED_TARGET libsystemd>=247)
    target_link_libraries(sluice_systemd INTERFACE PkgConfig::systemd)
  else()
    target_include_directories(sluice_systemd INTERFACE ${PROJECT_SOURCE_DIR}/daemons/common/without_systemd)
  endif()
endif()
if(SLUICE_BUILD_RECORDER)
  find_package(SQLite3 3.35 REQUIRED)
endif()
if(SLUICE_BUILD_ICEORYX)
  find_package(iceoryx_posh 2.0.3 REQUIRED)
endif()
if(SLUICE_BUILD_CAPTURE)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(gstreamer REQUIRED IMPORTED_TARGET gstreamer-1.0>=1.22 gstreamer-base-1.0 gstreamer-video-1.0
                    gstreamer-app-1.0)
  pkg_check_modules(gstreamer_rtsp_server REQUIRED IMPORTED_TARGET gstreamer-rtsp-server-1.0>=1.22)
endif()
if(SLUICE_BUILD_VISION)
  find_package(OpenCV 4.5.4 REQUIRED COMPONENTS core imgproc imgcodecs objdetect) # 4.5.4: FaceDetectorYN
endif()
find_package(nlohmann_json 3.11 REQUIRED) # headers only
