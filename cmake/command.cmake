# The bench: everything in harness/ but main.c as the library `harness`, so that tests can link it, and the
# command `cascade` on top.

if(CASCADE_COMMAND)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/harness/*.c)
  file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/harness/*_test.c)
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz)\\.c$")
  list(FILTER sources EXCLUDE REGEX "harness/main\\.c$")
  set_property(GLOBAL APPEND PROPERTY CASCADE_SOURCES ${sources} ${tests})
  set(peers "")
  foreach(peer ${CASCADE_PEERS})
    if(EXISTS ${CMAKE_SOURCE_DIR}/harness/drivers/${peer}.c)
      if(TARGET peer_${peer})
        list(APPEND peers peer_${peer})
      else()
        list(FILTER sources EXCLUDE REGEX "harness/drivers/${peer}(_[a-z0-9_]+)?\\.c$")
        list(FILTER tests EXCLUDE REGEX "harness/drivers/${peer}_test\\.c$")
        string(TOUPPER ${peer} upper)
        set_property(SOURCE ${CMAKE_SOURCE_DIR}/harness/drivers/drivers.c APPEND PROPERTY
                     COMPILE_DEFINITIONS CASCADE_LACKS_${upper})
        cascade_leave_out("engine ${peer} (its library and header were not found)")
      endif()
    endif()
  endforeach()
  if(peer_rocksdb IN_LIST peers)
    # Its version stands in a header for C++ only. The library shall find our CRC-32C before its own.
    file(STRINGS ${ROCKSDB_INCLUDE_DIR}/rocksdb/version.h version_lines
         REGEX "^#define ROCKSDB_(MAJOR|MINOR|PATCH) [0-9]+")
    list(TRANSFORM version_lines REPLACE "^#define ROCKSDB_[A-Z]+ +" "")
    list(JOIN version_lines "." rocksdb_version)
    set_source_files_properties(${CMAKE_SOURCE_DIR}/harness/drivers/rocksdb.c
                                ${CMAKE_SOURCE_DIR}/harness/drivers/rocksdb_options.c PROPERTIES
                                COMPILE_DEFINITIONS "CASCADE_ROCKSDB_VERSION=\"${rocksdb_version}\"")
    target_link_options(peer_rocksdb INTERFACE
                        -Wl,--export-dynamic-symbol=_ZN7rocksdb6crc32c6ExtendEjPKcm)
  endif()
  if(sources)
    add_library(harness STATIC ${sources})
    target_include_directories(harness PUBLIC ${CMAKE_SOURCE_DIR}/engine ${CMAKE_SOURCE_DIR})
    target_link_libraries(harness PUBLIC layer_database PkgConfig::CYAML PkgConfig::YAML ${peers} m)
    # A record says how its binary was built.
    string(TOUPPER "CMAKE_C_FLAGS_${CMAKE_BUILD_TYPE}" kind_flags)
    string(STRIP "${CMAKE_C_FLAGS} ${${kind_flags}}" flags)
    set_source_files_properties(${CMAKE_SOURCE_DIR}/harness/build_info.c PROPERTIES
                                COMPILE_DEFINITIONS "CASCADE_BUILD_FLAGS=\"${flags}\"")
    foreach(test ${tests})
      cascade_test(${test} harness)
    endforeach()
    if(EXISTS ${CMAKE_SOURCE_DIR}/harness/main.c)
      add_executable(cascade ${CMAKE_SOURCE_DIR}/harness/main.c)
      target_link_libraries(cascade PRIVATE harness ${CASCADE_ALLOCATOR})
      install(TARGETS cascade RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT command)
      set_property(GLOBAL APPEND PROPERTY CASCADE_SOURCES ${CMAKE_SOURCE_DIR}/harness/main.c)
    endif()
  endif()
endif()
