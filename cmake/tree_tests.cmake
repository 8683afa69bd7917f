# Tests that cross modules link the whole tree. Tests over the source text itself link none of it: they run
# when nothing else builds.

set(text_tests arrows_test tidy_test)
file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/*_test.c)
foreach(test ${tests})
  get_filename_component(name ${test} NAME_WE)
  if(name IN_LIST text_tests)
    cascade_test(${test})
    if(TARGET ${name})
      target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/source_tree.c)
      target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/engine)
      target_compile_definitions(${name} PRIVATE CASCADE_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                                 CASCADE_SOURCES_LIST="${CMAKE_BINARY_DIR}/sources.txt")
    endif()
  elseif(TARGET harness)
    cascade_test(${test} harness)
  else()
    cascade_test(${test} layer_database)
  endif()
endforeach()
set_property(GLOBAL APPEND PROPERTY CASCADE_SOURCES ${CMAKE_SOURCE_DIR}/tests/source_tree.c)

get_property(all GLOBAL PROPERTY CASCADE_SOURCES)
list(JOIN all "\n" all)
file(WRITE ${CMAKE_BINARY_DIR}/sources.txt "${all}\n")

set(left_out "nothing")
if(CASCADE_LEFT_OUT)
  list(JOIN CASCADE_LEFT_OUT "; " left_out)
endif()
message(STATUS "cascade ${PROJECT_VERSION}: ${CMAKE_BUILD_TYPE} with ${CMAKE_C_COMPILER_ID} "
               "${CMAKE_C_COMPILER_VERSION}; left out: ${left_out}")
