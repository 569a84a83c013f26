// Asks for memory that is read some hundred cycles later: it then lies in the L2 cache.
#pragma once
#include "base.cuh"

template <class T>
__device__ __forceinline__ void prefetch([[maybe_unused]] const T* at) {
#ifndef MC_EMULATED
  asm volatile("prefetch.global.L2 [%0];" : : "l"(at));
#endif
}

// `COUNT` numbers that lie `apart`.
template <int COUNT, class T>
__device__ __forceinline__ void prefetch(const T* at, int apart) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) prefetch(at + i * apart);
}
