// Loops that the compiler vectorises, for the processor that is there.
#pragma once

// Before a function: it is compiled for AVX2 too, and which one runs is settled at loading. What is
// called in it has to be inlined.
#if !defined(__x86_64__) || !defined(__linux__) || defined(__clang__)
#define VECTORISED
#elif __GNUC__ >= 12
#define VECTORISED __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define VECTORISED __attribute__((target_clones("fma", "default")))
#endif
#define INLINED __attribute__((always_inline)) inline  // else a clone calls what is not for it
