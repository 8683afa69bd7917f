# Tests that cross modules link the whole tree, and what else lies in tests/ as the library `test_support`. Tests
# over the source text itself link none of it: they run when nothing else builds.

set(text_tests arrows_test tidy_test)
set(text_sources ${CMAKE_SOURCE_DIR}/tests/source_tree.c)
file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/*_test.c)
file(GLOB_RECURSE support CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/*.c)
list(FILTER support EXCLUDE REGEX "_(test|fuzz)\\.c$")
list(FILTER support EXCLUDE REGEX "tests/(fuzz|sim|stacks|plain|modules)/") # see other files here
list(REMOVE_ITEM support ${text_sources})
set_property(GLOBAL APPEND PROPERTY CASCADE_SOURCES ${tests} ${support} ${text_sources})

set(whole_tree layer_database)
if(TARGET harness)
  set(whole_tree harness)
endif()
if(support AND CASCADE_TESTS)
  add_library(test_support STATIC ${support})
  target_include_directories(test_support PUBLIC ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(test_support PUBLIC ${whole_tree} layer_runtime_for_tests PkgConfig::CMOCKA)
  set(whole_tree test_support)
endif()

if(TARGET fuzz_support)
  list(APPEND whole_tree fuzz_support) # format_damage_test damages what the fuzz targets damage
endif()
if(TARGET sim_support)
  list(APPEND whole_tree sim_support) # of cascade_sim_test
endif()
if(TARGET stacks_support)
  list(APPEND whole_tree stacks_support) # of stack_check_test
endif()
foreach(test ${tests})
  get_filename_component(name ${test} NAME_WE)
  if(name IN_LIST text_tests)
    cascade_test(${test})
    if(TARGET ${name})
      target_sources(${name} PRIVATE ${text_sources})
      target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/engine)
      target_compile_definitions(${name} PRIVATE CASCADE_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                                 CASCADE_SOURCES_LIST="${CMAKE_BINARY_DIR}/sources.txt")
    endif()
  else()
    cascade_test(${test} ${whole_tree})
    if(TARGET ${name} AND TARGET cascade)
      add_dependencies(${name} cascade variants) # tests of the command line run ./cascade
    endif()
  endif()
endforeach()

if(TARGET single_fault_test)
  set_tests_properties(single_fault_test PROPERTIES TIMEOUT 1500) # a long run is one
endif()

if(TARGET variants_test)
  set(loaded "")
  foreach(module treap skeleton_memtable skeleton_filter skeleton_cache skeleton_codec skeleton_compaction)
    list(APPEND loaded $<TARGET_FILE:${module}>)
  endforeach()
  list(JOIN loaded ":" loaded)
  add_dependencies(variants_test variants)
  add_test(NAME variants_test.loaded COMMAND variants_test)
  set_tests_properties(variants_test.loaded PROPERTIES TIMEOUT 300
                       ENVIRONMENT CASCADE_TEST_COMPONENTS=${loaded})
endif()

get_property(all GLOBAL PROPERTY CASCADE_SOURCES)
list(REMOVE_DUPLICATES all)
list(JOIN all "\n" all)
file(WRITE ${CMAKE_BINARY_DIR}/sources.txt "${all}\n")

set(left_out "nothing")
if(CASCADE_LEFT_OUT)
  list(JOIN CASCADE_LEFT_OUT "; " left_out)
endif()
message(STATUS "cascade ${PROJECT_VERSION}: ${CMAKE_BUILD_TYPE} with ${CMAKE_C_COMPILER_ID} "
               "${CMAKE_C_COMPILER_VERSION}; left out: ${left_out}")
