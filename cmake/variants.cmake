# Variants in shared objects, as anybody builds them outside of the tree (docs/add-a-component.md), here for tests:
# the skeletons of components/, the example of examples/, the straightforward forms of tests/plain, and some
# that are to be refused. And the conformance suites over them, which take CASCADE_TEST_COMPONENTS.

# cascade_variants(NAME sources...): the shared object NAME.so in the build folder.
function(cascade_variants name)
  add_library(${name} MODULE ${ARGN})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/engine ${CMAKE_SOURCE_DIR})
  set_target_properties(${name} PROPERTIES PREFIX "")
  add_dependencies(variants ${name})
  foreach(source ${ARGN})
    set_property(GLOBAL APPEND PROPERTY CASCADE_SOURCES ${CMAKE_SOURCE_DIR}/${source})
  endforeach()
endfunction()

# cascade_variants_test(SUITE NAME): the suite over the variants of that shared object alone.
function(cascade_variants_test suite name)
  if(NOT TARGET ${suite})
    return()
  endif()
  add_dependencies(${suite} ${name})
  add_test(NAME ${suite}.${name} COMMAND ${suite})
  set_tests_properties(${suite}.${name} PROPERTIES TIMEOUT 300
                       ENVIRONMENT CASCADE_TEST_COMPONENTS=$<TARGET_FILE:${name}>)
endfunction()

if(NOT CASCADE_TESTS)
  return()
endif()
add_custom_target(variants)

cascade_variants(skeleton_memtable components/memtable/skeleton.c)
cascade_variants(skeleton_filter components/filters/skeleton.c)
cascade_variants(skeleton_cache components/cache/skeleton.c)
cascade_variants(skeleton_codec components/codec/skeleton.c)
cascade_variants(skeleton_compaction components/compaction/skeleton.c)
cascade_variants(treap examples/out_of_tree/treap.c)
cascade_variants(libplain tests/plain/plain_module.c tests/plain/plain_skiplist.c tests/plain/plain_btree.c
                 tests/plain/plain_art.c tests/plain/plain_sorted_hash.c)
target_include_directories(libplain PRIVATE ${CMAKE_SOURCE_DIR}/tests)
cascade_variants_test(memtable_test skeleton_memtable)
cascade_variants_test(filter_test skeleton_filter)
cascade_variants_test(cache_test skeleton_cache)
cascade_variants_test(codec_test skeleton_codec)
cascade_variants_test(policy_test skeleton_compaction)
cascade_variants_test(memtable_test treap)
cascade_variants_test(memtable_test libplain)

# What cascade_component_load has to refuse (engine/database/component_load_test.c).
cascade_variants(refused_abi tests/modules/refused_abi.c)
cascade_variants(refused_empty tests/modules/refused_empty.c)
cascade_variants(refused_option tests/modules/refused_option.c)
cascade_variants(refused_second tests/modules/refused_second.c)
cascade_variants(refused_symbol tests/modules/refused_symbol.c)
add_dependencies(component_load_test variants)

# The page, step by step. What it compiles has no sanitizer, and is refused by programs that have the one for
# addresses.
if(TARGET cascade AND TARGET fuzz_memtable AND NOT CASCADE_BUILD MATCHES "asan|tsan" AND NOT CASCADE_PLANTED)
  add_test(NAME add_a_component COMMAND ${CMAKE_SOURCE_DIR}/scripts/check-add-a-component.sh ${CMAKE_BINARY_DIR})
  set_tests_properties(add_a_component PROPERTIES TIMEOUT 300)
endif()
