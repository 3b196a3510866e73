# 32-bit Arm. armv7-a is the floor: below it a 64-bit atomic is not lock-free, and shm/ asserts that it is.
set(triplet arm-linux-gnueabihf)
set(architecture armhf)
set(CMAKE_SYSTEM_PROCESSOR armv7l)
include(${CMAKE_CURRENT_LIST_DIR}/debian-cross.cmake)
# -Wno-psabi: a note about an ABI change of GCC 7, which says nothing to anybody who builds with 12.
# Files and times have 64 bits, as in the kernel; Debian 12's default is 32.
set(CMAKE_CXX_FLAGS_INIT "-march=armv7-a+fp -Wno-psabi -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64")
# qemu-arm does not look into the multiarch folders of -L by itself.
set(CMAKE_CROSSCOMPILING_EMULATOR
    qemu-arm-static;-L;${SYSROOT};-E;LD_LIBRARY_PATH=${SYSROOT}/lib/${triplet}:${SYSROOT}/usr/lib/${triplet})
