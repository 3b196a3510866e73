# 64-bit Arm, Raspberry Pi 4 and up.
set(triplet aarch64-linux-gnu)
set(architecture aarch64)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
include(${CMAKE_CURRENT_LIST_DIR}/debian-cross.cmake)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static;-L;${SYSROOT})
