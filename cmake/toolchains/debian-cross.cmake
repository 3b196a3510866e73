# Common to the cross builds: Debian's cross compiler, and the target's headers and libraries from an
# unpacked Debian root, for example
#   mmdebstrap --variant=extract --architectures=arm64 --include=libboost-dev,… bookworm <folder>
# The including file sets `triplet` and CMAKE_SYSTEM_PROCESSOR.
#
# SYSROOT: that folder, as -DSYSROOT=… or in the environment.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_C_COMPILER ${triplet}-gcc)
set(CMAKE_CXX_COMPILER ${triplet}-g++)

if(NOT SYSROOT AND DEFINED ENV{SYSROOT})
  set(SYSROOT $ENV{SYSROOT})
endif()
if(NOT SYSROOT OR NOT IS_DIRECTORY "${SYSROOT}/usr/include")
  message(FATAL_ERROR "Set SYSROOT to an unpacked ${triplet} root (it is '${SYSROOT}').")
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
