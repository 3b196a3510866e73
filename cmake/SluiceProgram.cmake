# sluice_program(<target>): one of our programs, which shares the code of libsluice with the others (sluice_inside).
#
# With SLUICE_SHARED off each brings along what it needs.
function(sluice_program target)
  set_target_properties(${target} PROPERTIES SLUICE_SHARES_LIBRARIES ${SLUICE_SHARED})
  target_link_options(${target} PRIVATE LINKER:--as-needed)
  sluice_runs_installed(${target} ${CMAKE_INSTALL_BINDIR})
endfunction()

# sluice_runs_installed(<target> <folder below the prefix>): finds our libraries from where it lies itself, so that an
# installed tree runs anywhere. In /usr the loader looks by itself, and distributions want no such path there.
function(sluice_runs_installed target folder)
  if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    file(RELATIVE_PATH libraries /${folder} /${CMAKE_INSTALL_LIBDIR})
    cmake_path(APPEND origin \$ORIGIN ${libraries})
    set_target_properties(${target} PROPERTIES INSTALL_RPATH ${origin})
  endif()
endfunction()

# sluice_seldom_runs(<target>…): what reads options and files, waits and prints. To optimise CLI11, JSON and TOML in all of
# it takes longer than all of shm/.
function(sluice_seldom_runs)
  if(NOT SLUICE_SMALL)
    foreach(target IN LISTS ARGN)
      target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
    endforeach()
  endif()
endfunction()
