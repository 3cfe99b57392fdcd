# Libraries from Python packages: found through the packages' own list of files (they may lie
# anywhere on sys.path, as under pip's build isolation) and copied next to the module, which loads
# them when it needs them (csrc/cpu/library.h).

# The directory in which the module is built, and which must hold the libraries: the source tree
# in a developer's build, the build tree on the way to a wheel.
if(SKBUILD OR TM_SANITIZE)
  set(TM_MODULE_DIR ${CMAKE_BINARY_DIR}/taimatsu)
else()
  set(TM_MODULE_DIR ${CMAKE_SOURCE_DIR}/taimatsu)
endif()

# tm_find_library(<name> PACKAGE <dist> [RUNTIME <dist>] HEADER <path> LIBRARY <stem>)
# sets <name>_FOUND, <name>_INCLUDE_DIR and <name>_LIBRARY.
function(tm_find_library name)
  cmake_parse_arguments(arg "" "PACKAGE;RUNTIME;HEADER;LIBRARY" "" ${ARGN})
  if(NOT arg_RUNTIME)
    set(arg_RUNTIME ${arg_PACKAGE})
  endif()
  execute_process(
    COMMAND ${Python_EXECUTABLE} ${CMAKE_SOURCE_DIR}/cmake/locate.py
            ${arg_PACKAGE} ${arg_HEADER} ${arg_RUNTIME} ${arg_LIBRARY}
    OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE status)
  if(status EQUAL 0)
    list(GET found 0 include)
    list(GET found 1 library)
    set(${name}_INCLUDE_DIR ${include} PARENT_SCOPE)
    set(${name}_LIBRARY ${library} PARENT_SCOPE)
    set(${name}_FOUND TRUE PARENT_SCOPE)
  else()
    set(${name}_FOUND FALSE PARENT_SCOPE)
  endif()
endfunction()

# tm_bundle(<target> <name>): puts a copy of the library beside the target, which knows the file's
# name as TM_<NAME>.
function(tm_bundle target name)
  get_filename_component(file ${${name}_LIBRARY} NAME)
  file(MAKE_DIRECTORY ${TM_MODULE_DIR})
  file(COPY_FILE ${${name}_LIBRARY} ${TM_MODULE_DIR}/${file} ONLY_IF_DIFFERENT)
  target_include_directories(${target} SYSTEM PRIVATE ${${name}_INCLUDE_DIR})
  string(TOUPPER TM_${name} macro)
  target_compile_definitions(${target} PRIVATE ${macro}="${file}")
  install(FILES ${${name}_LIBRARY} DESTINATION taimatsu)
endfunction()
