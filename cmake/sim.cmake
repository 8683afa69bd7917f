# The simulation (tests/sim): the program cascade-sim, which is never installed, and the library behind it for
# its test. See `make sim`.

file(GLOB sim_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/sim/*.c)
list(FILTER sim_sources EXCLUDE REGEX "_test\\.c$")
set_property(GLOBAL APPEND PROPERTY CASCADE_SOURCES ${sim_sources})
if(NOT CASCADE_TESTS)
  return()
endif()
list(REMOVE_ITEM sim_sources ${CMAKE_SOURCE_DIR}/tests/sim/main.c)
add_library(sim_support STATIC ${sim_sources})
target_include_directories(sim_support PUBLIC ${CMAKE_SOURCE_DIR}/tests)
target_link_libraries(sim_support PUBLIC layer_database layer_runtime_for_tests)
add_executable(cascade-sim tests/sim/main.c)
target_link_libraries(cascade-sim PRIVATE sim_support Threads::Threads ${CASCADE_ALLOCATOR})
