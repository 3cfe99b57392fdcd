// Generated kernels on a GPU: loading, launching, and what they report.
#pragma once

#include "cuda/device.h"
#include "cuda/grid.h"

namespace taimatsu {
struct Launch;
}

namespace taimatsu::cuda {

// `launch` is a taimatsu.codegen.ptx.Launch. What it gives lives as long as the process.
void* load_kernel(PyObject* launch, Device d);
void launch_kernel(void* kernel, const Launch& l, Device d);

// Raises what a kernel has reported since: an index out of range, say. Called where the host has
// waited for the device. Names the op.
void check_reports();

}  // namespace taimatsu::cuda
