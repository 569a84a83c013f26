// The largest number of a block and where it stands; every thread gets the result.
#pragma once
#include "base.cuh"

struct Largest {
  Real value;
  int place;  // the lowest of those with this value
};

__device__ __forceinline__ Largest larger(Largest a, Largest b) {
  if (a.value == b.value) return {a.value, min(a.place, b.place)};
  return a.value > b.value ? a : b;
}

// `values` and `places` hold one number per warp. Ends with a barrier: both may be used again.
__device__ __forceinline__ Largest block_largest(Largest found, Real* values, int* places) {
  for (int bits = 16; bits; bits >>= 1) {
    Real value = __shfl_xor_sync(EVERY_LANE, found.value, bits);
    int place = __shfl_xor_sync(EVERY_LANE, found.place, bits);
    found = larger(found, {value, place});
  }
  if ((threadIdx.x & 31) == 0) {
    values[threadIdx.x >> 5] = found.value;
    places[threadIdx.x >> 5] = found.place;
  }
  __syncthreads();
  for (int warp = 0; warp < int(blockDim.x) / 32; ++warp)
    found = larger(found, {values[warp], places[warp]});
  __syncthreads();
  return found;
}
