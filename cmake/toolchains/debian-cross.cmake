# Common to the cross builds: Debian's cross compiler, and the target's headers and libraries from an
# unpacked Debian root (tools/sysroot.sh). The including file sets `triplet`, `architecture` and
# CMAKE_SYSTEM_PROCESSOR.
#
# SYSROOT: that root, as -DSYSROOT=… or in the environment; by default <architecture>. A relative one lies in
# SLUICE_SYSROOTS (environment), by default build/sysroot.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_C_COMPILER ${triplet}-gcc)
set(CMAKE_CXX_COMPILER ${triplet}-g++)

if(NOT SYSROOT AND DEFINED ENV{SYSROOT})
  set(SYSROOT $ENV{SYSROOT})
endif()
if(NOT SYSROOT)
  set(SYSROOT ${architecture})
endif()
if(NOT IS_ABSOLUTE "${SYSROOT}")
  set(sysroots build/sysroot)
  if(DEFINED ENV{SLUICE_SYSROOTS})
    set(sysroots $ENV{SLUICE_SYSROOTS})
  endif()
  cmake_path(ABSOLUTE_PATH sysroots BASE_DIRECTORY ${CMAKE_CURRENT_LIST_DIR}/../..)
  cmake_path(ABSOLUTE_PATH SYSROOT BASE_DIRECTORY ${sysroots} NORMALIZE)
  set(SYSROOT ${SYSROOT} CACHE PATH "Root of the target: headers and libraries" FORCE)
endif()
if(NOT IS_DIRECTORY "${SYSROOT}/usr/include")
  message(FATAL_ERROR "There is no ${triplet} root at '${SYSROOT}': run `tools/sysroot.sh [--core] ${architecture}`, \
or set SYSROOT to one.")
endif()
set(CMAKE_SYSROOT ${SYSROOT})
set(CMAKE_LIBRARY_ARCHITECTURE ${triplet})
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES SYSROOT)

# Programs run here; everything else comes from the target.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# pkg-config must not answer for the machine that builds.
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${SYSROOT}/usr/lib/${triplet}/pkgconfig:${SYSROOT}/usr/share/pkgconfig)
