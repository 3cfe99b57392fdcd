"""How kernels are launched: the grid, and what is declared of the driver."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

import taimatsu as torch
from taimatsu import _core
from taimatsu.codegen import grid, ptx

ROOT = Path(__file__).parents[2]


def test_formulas_of_grids_are_read_alike():
    rng = random.Random(0)
    sizes = (0, 1, 2, 7, 31, 32, 33, 100, 1000, 5000, 65536, 300_000, 1 << 24)
    for _ in range(2000):
        form = rng.choice(("points", "tiles", "rows", "columns"))
        plan = ptx.Plan(
            None, form, x=rng.choice((-1, 0, 1, 2)),
            y=tuple(rng.sample(range(4), rng.randrange(3))), lanes=rng.choice((1, 2, 4, 8)),
            held=rng.choice((0, 8, 16)),
            serial=rng.random() < 0.3, owners=rng.random() < 0.3, product=rng.choice((-1, 1, 2)),
        )  # fmt: skip
        formula = grid.formula(plan, rng.choice((0, 8)))
        geometry = [n for _ in range(4) for n in (0, rng.choice(sizes))]
        geometry += rng.choices((0, 1, 100), k=12)
        count = rng.choice((1, 16, 132))
        here = _core._cuda.grid(formula, geometry, count)
        assert here == grid.evaluate(formula, geometry, count)


def test_a_product_without_a_library_goes_by_tiles(double):
    a, b = torch.ones(70, 66, device="cuda").long(), torch.ones(66, 130, device="cuda").long()
    y = a @ b
    assert double.grid() == (3, 2, 1, 16, 16, 1)
    assert bool((y == 66).all())


def test_kernels_get_one_launch_each(double):
    x = torch.ones(1000, device="cuda")
    x + 1
    before = double.calls("cuLaunchKernel")
    y = (x + 1) + 1
    assert double.calls("cuLaunchKernel") == before + 2
    assert (y.cpu() == 3).all()


def test_a_module_is_loaded_once(double):
    x = torch.ones(100, device="cuda")
    torch.special.i0(x)
    before = double.calls("cuModuleLoadDataEx")
    for _ in range(5):
        torch.special.i0(x)
    assert double.calls("cuModuleLoadDataEx") == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.uint8,
                                   torch.bool, torch.complex64, torch.float8_e4m3fn])  # fmt: skip
def test_a_number_everywhere_is_one_launch_and_no_wait(double, dtype):
    x = torch.full([3, 5], 1, dtype=dtype, device="cuda")
    names = "cuMemcpyAsync", "cuStreamSynchronize"
    before = [double.calls(n) for n in names]
    launches = double.calls("cuLaunchKernel")
    x.fill_(1)
    y = torch.zeros(4, dtype=dtype, device="cuda")
    assert [double.calls(n) for n in names] == before
    assert double.calls("cuLaunchKernel") == launches + 2
    assert (x.cpu().to(torch.complex64) == 1).all() and (y.cpu().to(torch.complex64) == 0).all()


CHECK = """
#include <cuda.h>
#include <cudaProfiler.h>
#include "cuda/driver.h"
#include <type_traits>
using namespace taimatsu::cuda;
#define SAME(a, b) static_assert(static_cast<long>(a) == static_cast<long>(b), #a)
SAME(kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY);
SAME(kNotInitialized, CUDA_ERROR_NOT_INITIALIZED);
SAME(kDeinitialized, CUDA_ERROR_DEINITIALIZED);
SAME(kNoDevice, CUDA_ERROR_NO_DEVICE);
SAME(kNotReady, CUDA_ERROR_NOT_READY);
SAME(kNotSupported, CUDA_ERROR_NOT_SUPPORTED);
SAME(kPeerAccessAlreadyEnabled, CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
SAME(kStreamNonBlocking, CU_STREAM_NON_BLOCKING);
SAME(kEventBlockingSync, CU_EVENT_BLOCKING_SYNC);
SAME(kEventDisableTiming, CU_EVENT_DISABLE_TIMING);
SAME(kEventInterprocess, CU_EVENT_INTERPROCESS);
SAME(kHostPortable, CU_MEMHOSTALLOC_PORTABLE);
SAME(kHostMapped, CU_MEMHOSTALLOC_DEVICEMAP);
SAME(kCaptureRelaxed, CU_STREAM_CAPTURE_MODE_RELAXED);
SAME(kCaptureInvalidated, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
SAME(kJitErrorLog, CU_JIT_ERROR_LOG_BUFFER);
SAME(kJitErrorLogBytes, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
SAME(kPointerMemoryType, CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
SAME(kPointerDevice, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL);
SAME(kHostMemory, CU_MEMORYTYPE_HOST);
SAME(kDeviceMemory, CU_MEMORYTYPE_DEVICE);
SAME(Location().type, CU_MEM_LOCATION_TYPE_DEVICE);
SAME(AllocationProperties().type, CU_MEM_ALLOCATION_TYPE_PINNED);
SAME(AccessDescription().flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
SAME(sizeof(AllocationProperties), sizeof(CUmemAllocationProp));
SAME(sizeof(AccessDescription), sizeof(CUmemAccessDesc));
SAME(sizeof(Uuid), sizeof(CUuuid));
#define ATTRIBUTE(ours, theirs) SAME(ours, CU_DEVICE_ATTRIBUTE_##theirs)
ATTRIBUTE(kMaxThreadsPerBlock, MAX_THREADS_PER_BLOCK);
ATTRIBUTE(kSharedMemoryPerBlock, MAX_SHARED_MEMORY_PER_BLOCK);
ATTRIBUTE(kWarpSize, WARP_SIZE);
ATTRIBUTE(kClockRate, CLOCK_RATE);
ATTRIBUTE(kMultiprocessors, MULTIPROCESSOR_COUNT);
ATTRIBUTE(kIntegrated, INTEGRATED);
ATTRIBUTE(kPciBus, PCI_BUS_ID);
ATTRIBUTE(kPciDevice, PCI_DEVICE_ID);
ATTRIBUTE(kPciDomain, PCI_DOMAIN_ID);
ATTRIBUTE(kMemoryClockRate, MEMORY_CLOCK_RATE);
ATTRIBUTE(kMemoryBusWidth, GLOBAL_MEMORY_BUS_WIDTH);
ATTRIBUTE(kL2CacheBytes, L2_CACHE_SIZE);
ATTRIBUTE(kMaxThreadsPerMultiprocessor, MAX_THREADS_PER_MULTIPROCESSOR);
ATTRIBUTE(kCapabilityMajor, COMPUTE_CAPABILITY_MAJOR);
ATTRIBUTE(kCapabilityMinor, COMPUTE_CAPABILITY_MINOR);
ATTRIBUTE(kSharedMemoryPerMultiprocessor, MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
ATTRIBUTE(kRegistersPerMultiprocessor, MAX_REGISTERS_PER_MULTIPROCESSOR);
ATTRIBUTE(kIsMultiGpuBoard, MULTI_GPU_BOARD);
ATTRIBUTE(kSharedMemoryPerBlockOptin, MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
ATTRIBUTE(kVirtualMemory, VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED);
// Parameters: as many, and each of the same size and kind.
template <class A, class B>
constexpr bool alike = sizeof(A) == sizeof(B) &&
    std::is_pointer<A>::value == std::is_pointer<B>::value;
template <class F, class G>
struct Functions : std::false_type {};
template <class R, class... A, class S, class... B>
struct Functions<R (*)(A...), S (*)(B...)>
    : std::bool_constant<sizeof...(A) == sizeof...(B)> {
  template <class, class, class = void>
  struct Each : std::false_type {};
  template <class T, class U>
  struct Each<T, U, std::enable_if_t<sizeof...(A) == sizeof...(B)>>
      : std::bool_constant<(alike<A, B> && ...)> {};
  static_assert(Each<R, S>::value, "parameters differ");
};
"""


def header() -> Path | None:
    places = (Path("/usr/local/cuda/include"), Path("/usr/include"))
    return next((p for p in places if (p / "cuda.h").exists()), None)


# Symbols whose plain name is a macro for a version, in a header of CUDA 13.
OTHER_VERSIONS = {"cuDeviceGetUuid", "cuStreamGetCaptureInfo_v2", "cuEventElapsedTime",
                  "cuGraphExecKernelNodeSetParams"}  # fmt: skip


@pytest.mark.skipif(header() is None, reason="no cuda.h is found")
def test_declarations_are_the_drivers(tmp_path):
    """What csrc/cuda/driver.h declares by hand agrees with NVIDIA's header, where there is one."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    import re
    import sysconfig

    text = (ROOT / "csrc/cuda/driver.h").read_text()
    entries = re.findall(r'X\((\w+),\s*"(\w+)"', text)
    assert len(entries) > 50
    source = CHECK
    for name, symbol in entries:
        if symbol in OTHER_VERSIONS:
            continue
        source += (f"static_assert(Functions<decltype(Driver::{name}), "
                   f"decltype(&{symbol})>::value, \"{symbol}\");\n")  # fmt: skip
    (tmp_path / "check.cpp").write_text(source)
    command = [compiler, "-std=c++17", "-fsyntax-only", f"-I{ROOT / 'csrc'}", f"-I{header()}",
               f"-I{sysconfig.get_path('include')}", tmp_path / "check.cpp"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
