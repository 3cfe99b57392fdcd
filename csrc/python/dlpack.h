// DLPack's structs, and how ours are described by them.
#pragma once

#include "../taimatsu/include/taimatsu/dlpack.h"
#include "python/tensor_type.h"

namespace taimatsu {

DLDataType to_dlpack_type(DType t);
DType from_dlpack_type(DLDataType d);   // BufferError for what there is no dtype for
DLDevice to_dlpack_device(Device d);    // ValueError for meta
Device from_dlpack_device(DLDevice d);  // BufferError for what isn't supported
TensorRef from_dlpack_managed(DLManagedTensorVersioned* managed);  // takes it over

}  // namespace taimatsu
