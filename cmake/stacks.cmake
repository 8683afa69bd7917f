# Stacks of tasks: the test `stacks` holds what each task type declares against the call graph of this build
# (scripts/check-stacks.sh). Only gcc writes one, and only in an optimized build is it that of what is shipped.

file(GLOB stacks_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/stacks/*.c)
list(FILTER stacks_sources EXCLUDE REGEX "_test\\.c$")
set_property(GLOBAL APPEND PROPERTY CASCADE_SOURCES ${stacks_sources})
if(NOT CASCADE_TESTS)
  return()
endif()
list(REMOVE_ITEM stacks_sources ${CMAKE_SOURCE_DIR}/tests/stacks/main.c)
add_library(stacks_support STATIC ${stacks_sources} ${CMAKE_SOURCE_DIR}/tests/source_tree.c)
target_include_directories(stacks_support PUBLIC ${CMAKE_SOURCE_DIR}/tests)
target_compile_definitions(stacks_support INTERFACE CASCADE_SOURCE_DIR="${CMAKE_SOURCE_DIR}") # for outside_test
add_executable(check-stacks tests/stacks/main.c)
target_link_libraries(check-stacks PRIVATE stacks_support)

if(CASCADE_CALL_GRAPH AND NOT CASCADE_PLANTED)
  set(objects "")
  foreach(layer ${CASCADE_LAYERS})
    list(APPEND objects $<TARGET_OBJECTS:${layer}>)
  endforeach()
  file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/objects.txt CONTENT "$<JOIN:${objects},\n>\n")
  add_test(NAME stacks COMMAND ${CMAKE_SOURCE_DIR}/scripts/check-stacks.sh ${CMAKE_BINARY_DIR})
  set_tests_properties(stacks PROPERTIES TIMEOUT 60)
endif()
