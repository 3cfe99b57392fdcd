// NVIDIA's libraries, which their pip packages bring: opened when an op first has use of one. Where
// there is none, ops are computed by generated kernels.
#pragma once

#include "cuda/driver.h"
#include "tensor/dtype.h"

namespace taimatsu::cuda {

struct Symbol {
  void** slot;
  const char* name;
};

// Finds lib`stem` (taimatsu/cuda/_libraries.py says where), and its functions; false where it isn't
// there or is too old. Runs Python.
bool open_library(const char* stem, std::initializer_list<Symbol> symbols);

// A library whose functions are the fields of `Table`; `Table::open()` fills them.
template <class Table>
const Table* library() {
  static enum { Unknown, Absent, Ready } state = Unknown;
  static Table table;
  if (state == Unknown) state = table.open() ? Ready : Absent;
  return state == Ready ? &table : nullptr;
}

// Fields and symbols from a list like TM_CUDA_FUNCTIONS: X(name here, name there, parameters).
#define TM_LIBRARY_FIELD(name, symbol, parameters) int(*name) parameters;
#define TM_LIBRARY_SYMBOL(name, symbol, parameters) {reinterpret_cast<void**>(&name), symbol},
#define TM_LIBRARY(Table, stem, FUNCTIONS)                                     \
  struct Table {                                                               \
    FUNCTIONS(TM_LIBRARY_FIELD)                                                \
    bool open() { return open_library(stem, {FUNCTIONS(TM_LIBRARY_SYMBOL)}); } \
  }

// Throws for a status that isn't 0, naming the library's function.
void check_call(int status, const char* function);

extern bool allow_tf32;  // f32 may be multiplied with 10 bits behind the point

// cudaDataType_t, which all libraries share; -1 for what they don't compute with.
int data_type(DType t);

}  // namespace taimatsu::cuda
