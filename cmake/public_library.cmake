# libcascade for embedders: shared and static, both with nothing visible but cascade_*, two headers, a
# pkg-config file and a CMake package. Sanitizer builds have no installable library: their runtimes must come
# first in the process. Nor has one with planted bugs.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set_property(GLOBAL APPEND PROPERTY CASCADE_SOURCES ${CMAKE_SOURCE_DIR}/examples/embed.c
                                                    ${CMAKE_SOURCE_DIR}/examples/runtime.c)
file(GLOB_RECURSE database_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/engine/database/*.c)
list(FILTER database_sources EXCLUDE REGEX "_(test|fuzz)\\.c$")
if(NOT database_sources OR NOT CASCADE_BUILD MATCHES "release|debug" OR CASCADE_PLANTED)
  return()
endif()

set(objects "")
foreach(layer ${CASCADE_LAYERS})
  list(APPEND objects $<TARGET_OBJECTS:${layer}>)
endforeach()
set(libraries PkgConfig::URING PkgConfig::ZSTD PkgConfig::LZ4 PkgConfig::XXHASH Threads::Threads m
              ${CMAKE_DL_LIBS})

# --- shared ---

add_library(cascade_shared SHARED ${objects})
target_link_libraries(cascade_shared PRIVATE ${libraries})
target_include_directories(cascade_shared INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/engine>
                                                    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# Its own calls of what it shows are bound to itself, so that they cost what all others do.
target_link_options(cascade_shared PRIVATE -Wl,-z,defs -Wl,-Bsymbolic-functions
                    -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/cascade.map)
target_link_options(cascade_shared INTERFACE -Wl,-z,now) # see cascade.pc.in
set_target_properties(cascade_shared PROPERTIES
  OUTPUT_NAME cascade EXPORT_NAME cascade LINKER_LANGUAGE C
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
  LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/cascade.map)
add_library(cascade::cascade ALIAS cascade_shared)

# --- static: one relocatable object whose every other symbol was made local, so that an embedder's own
# `arena_init` or `hash_key` never meets ours ---

set(whole ${CMAKE_BINARY_DIR}/libcascade.o)
add_custom_command(
  OUTPUT ${whole}
  COMMAND ${CMAKE_LINKER} -r -o ${whole}.all ${objects}
  COMMAND ${CMAKE_OBJCOPY} --localize-hidden --wildcard "--keep-global-symbol=cascade_*" ${whole}.all ${whole}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${whole}.all
  DEPENDS ${objects} ${CASCADE_LAYERS}
  COMMENT "Making one object of libcascade.a, internals hidden"
  COMMAND_EXPAND_LISTS VERBATIM)
add_library(cascade_static STATIC ${whole})
target_include_directories(cascade_static INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/engine>
                                                    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(cascade_static INTERFACE uring zstd lz4 xxhash m Threads::Threads ${CMAKE_DL_LIBS})
target_link_options(cascade_static INTERFACE -Wl,-z,now)
set_target_properties(cascade_static PROPERTIES OUTPUT_NAME cascade EXPORT_NAME static LINKER_LANGUAGE C)
add_library(cascade::static ALIAS cascade_static)

# --- install ---

install(TARGETS cascade_shared cascade_static EXPORT cascade
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(FILES ${CMAKE_SOURCE_DIR}/engine/cascade.h ${CMAKE_SOURCE_DIR}/engine/cascade_runtime.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)

configure_file(${CMAKE_SOURCE_DIR}/cmake/cascade.pc.in ${CMAKE_BINARY_DIR}/cascade.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/cascade.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/cascade)
install(EXPORT cascade NAMESPACE cascade:: FILE cascade-targets.cmake DESTINATION ${package} COMPONENT library)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/cascade-config.cmake.in
                              ${CMAKE_BINARY_DIR}/cascade-config.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/cascade-config-version.cmake
                                 VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/cascade-config.cmake ${CMAKE_BINARY_DIR}/cascade-config-version.cmake
        DESTINATION ${package} COMPONENT library)

# --- the examples: here against the library of this build, in scripts/check-embedding.sh against the installed
# one ---

foreach(flavour shared static)
  add_executable(embed_${flavour} ${CMAKE_SOURCE_DIR}/examples/embed.c)
  target_link_libraries(embed_${flavour} PRIVATE cascade::$<IF:$<STREQUAL:${flavour},shared>,cascade,static>)
  if(CASCADE_TESTS)
    add_test(NAME embed_${flavour} COMMAND embed_${flavour} embed_${flavour}.data)
    set_tests_properties(embed_${flavour} PROPERTIES TIMEOUT 60)
  endif()
endforeach()
add_executable(runtime_example ${CMAKE_SOURCE_DIR}/examples/runtime.c)
target_link_libraries(runtime_example PRIVATE cascade::cascade)
if(CASCADE_TESTS)
  add_test(NAME runtime_example COMMAND runtime_example)
  set_tests_properties(runtime_example PROPERTIES TIMEOUT 60 PASS_REGULAR_EXPRESSION "78498 primes")
  add_test(NAME embedding COMMAND ${CMAKE_SOURCE_DIR}/scripts/check-embedding.sh ${CMAKE_BINARY_DIR})
  set_tests_properties(embedding PROPERTIES TIMEOUT 300
                       ENVIRONMENT "CC=${CMAKE_C_COMPILER};NM=${CMAKE_NM}")
endif()
