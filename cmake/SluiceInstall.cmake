# What `cmake --install` puts where, in components:
#   runtime      the shared libraries, which all programs need
#   development  headers, link names, CMake package, pkg-config
#   tools        the program `sluice`, completion for shells
#   broker       the daemon `sluiced`, its units (packaging/systemd/)
#   recorder     the daemon `sluice-recorder`, its unit
#   iceoryx      the gateway `sluice-iceoryx`, its unit
#   capture      the programs `sluice-capture` and `sluice-photo-camera`, the unit for pipelines
#   vision       sluice-detect, sluice-recognize, sluice-annotate
# Manual pages come with their programs. docs/packaging.md says what becomes of these in packages.
include(CMakePackageConfigHelpers)

set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/sluice)

install(
  TARGETS sluice sluice_pipeline
  EXPORT sluiceTargets
  LIBRARY COMPONENT runtime NAMELINK_COMPONENT development
  ARCHIVE COMPONENT development
  FILE_SET HEADERS COMPONENT development)
install(EXPORT sluiceTargets NAMESPACE sluice:: DESTINATION ${cmake_dir} COMPONENT development)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/sluiceConfig.cmake.in sluiceConfig.cmake
                              INSTALL_DESTINATION ${cmake_dir} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(sluiceConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/sluiceConfig.cmake ${PROJECT_BINARY_DIR}/sluiceConfigVersion.cmake
        DESTINATION ${cmake_dir} COMPONENT development)

# The .pc files find their prefix from where they lie, so that an installed tree can be moved.
file(RELATIVE_PATH pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
if(SLUICE_SHARED)
  set(pc_cflags "")
else()
  set(pc_cflags " -DSLUICE_STATIC")
endif()
foreach(package sluice sluice-pipeline)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${package}.pc.in ${package}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${package}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
          COMPONENT development)
endforeach()

if(SLUICE_BUILD_TOOLS)
  install(TARGETS sluice_tool RUNTIME COMPONENT tools)
endif()
if(SLUICE_BUILD_DAEMONS)
  install(TARGETS sluiced RUNTIME COMPONENT broker)
endif()
if(SLUICE_BUILD_RECORDER)
  install(TARGETS sluice-recorder RUNTIME COMPONENT recorder)
endif()
if(SLUICE_BUILD_ICEORYX)
  install(TARGETS sluice-iceoryx RUNTIME COMPONENT iceoryx)
endif()
if(SLUICE_BUILD_CAPTURE)
  install(TARGETS sluice-capture sluice-photo-camera RUNTIME COMPONENT capture)
endif()
if(SLUICE_BUILD_VISION)
  install(TARGETS sluice-detect sluice-recognize sluice-annotate RUNTIME COMPONENT vision)
endif()
