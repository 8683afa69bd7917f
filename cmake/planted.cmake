# Planted bugs: a build with CASCADE_PLANTED knows all those of engine/base/planted.h and chooses one at run time.
# scripts/mutants.sh makes it, in a folder of its own; nothing of it is installed or measured. Every other build
# has the test `no_planted_bugs`, which looks for remains of them in its libraries and the command.

option(CASCADE_PLANTED "Plant the bugs of engine/base/planted.h, for scripts/mutants.sh" OFF)

set_property(GLOBAL APPEND PROPERTY CASCADE_SOURCES ${CMAKE_SOURCE_DIR}/engine/base/planted.c)
if(CASCADE_PLANTED)
  add_compile_definitions(CASCADE_PLANTED)
endif()

function(cascade_check_planted)
  if(CASCADE_PLANTED OR NOT CASCADE_TESTS)
    return()
  endif()
  set(built "")
  foreach(target ${CASCADE_LAYERS} cascade_shared cascade_static cascade)
    if(TARGET ${target})
      list(APPEND built $<TARGET_FILE:${target}>)
    endif()
  endforeach()
  add_test(NAME no_planted_bugs COMMAND ${CMAKE_SOURCE_DIR}/scripts/check-planted.sh ${built})
  set_tests_properties(no_planted_bugs PROPERTIES TIMEOUT 120
                       ENVIRONMENT "CC=${CMAKE_C_COMPILER};NM=${CMAKE_NM}")
endfunction()
