# One tree, four kinds of build: Release (default), Debug, Asan (address + undefined), Tsan (thread).

if(CMAKE_SOURCE_DIR STREQUAL CMAKE_BINARY_DIR)
  message(FATAL_ERROR "Build in a folder of its own: cmake -B build/release")
endif()
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug, Asan or Tsan" FORCE)
endif()
string(TOLOWER "${CMAKE_BUILD_TYPE}" CASCADE_BUILD)
if(NOT CASCADE_BUILD MATCHES "^(release|debug|asan|tsan)$")
  message(FATAL_ERROR "CMAKE_BUILD_TYPE is ${CMAKE_BUILD_TYPE}: must be Release, Debug, Asan or Tsan")
endif()
if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  message(FATAL_ERROR "Cascade runs on Linux only")
endif()

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-O0 -g -DCASCADE_DEBUG")
set(CMAKE_C_FLAGS_ASAN
    "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -DCASCADE_DEBUG")
set(CMAKE_C_FLAGS_TSAN "-O1 -g -fno-omit-frame-pointer -fsanitize=thread -DCASCADE_DEBUG")

add_compile_definitions(_GNU_SOURCE)
if(CASCADE_UCONTEXT)
  add_compile_definitions(CASCADE_UCONTEXT)
endif()
add_compile_options($<$<COMPILE_LANGUAGE:C>:-Wall> $<$<COMPILE_LANGUAGE:C>:-Wextra>
                    $<$<COMPILE_LANGUAGE:C>:-Werror> $<$<COMPILE_LANGUAGE:C>:-Wvla>
                    $<$<COMPILE_LANGUAGE:C>:-Wshadow> -fvisibility=hidden)
# Symbols are bound at start: the first call through a lazy binding would run the dynamic linker on a task's
# small stack, and that takes 3 KiB. Objects without a PLT are safe from it wherever they are linked (on aarch64
# they would be slower).
add_link_options(-Wl,-z,now)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  add_compile_options($<$<COMPILE_LANGUAGE:C>:-fno-plt>)
endif()

# Variants in shared objects find in any program what they may call of base: of all that is in a program only
# those functions are not hidden (engine/base/exported.h).
set(CMAKE_ENABLE_EXPORTS ON)

# Assertions name files from the top of the tree, wherever it was built.
add_compile_options($<$<COMPILE_LANGUAGE:C>:-fmacro-prefix-map=${CMAKE_SOURCE_DIR}/=>)

# What the layers of the engine are held to beyond that. Sanitizers and -O0 pad frames, and give every task a
# large guarded stack instead.
set(CASCADE_LAYER_OPTIONS $<$<COMPILE_LANGUAGE:C>:-Wconversion>)
if(CASCADE_BUILD STREQUAL "release")
  list(APPEND CASCADE_LAYER_OPTIONS $<$<COMPILE_LANGUAGE:C>:-Wframe-larger-than=4096>)
endif()

# The call graph with the frames, for the check of stacks (cmake/stacks.cmake).
set(CASCADE_CALL_GRAPH OFF)
if(CASCADE_BUILD STREQUAL "release" AND CMAKE_C_COMPILER_ID STREQUAL "GNU" AND
   CMAKE_C_COMPILER_VERSION VERSION_GREATER_EQUAL 10 AND NOT CASCADE_UCONTEXT)
  set(CASCADE_CALL_GRAPH ON)
  list(APPEND CASCADE_LAYER_OPTIONS $<$<COMPILE_LANGUAGE:C>:-fcallgraph-info=su>)
endif()
