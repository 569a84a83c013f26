// Sums and maxima over the lanes of a warp and the threads of a block; every thread gets the result.
#pragma once
#include "base.cuh"

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int bits = 16; bits; bits >>= 1) value += __shfl_xor_sync(EVERY_LANE, value, bits);
  return value;
}

template <class T>
__device__ __forceinline__ T warp_max(T value) {
#pragma unroll
  for (int bits = 16; bits; bits >>= 1) value = max(value, __shfl_xor_sync(EVERY_LANE, value, bits));
  return value;
}

// `scratch` holds one number per warp. Ends with a barrier: it may be used again at once.
template <class T>
__device__ __forceinline__ T block_sum(T value, T* scratch) {
  value = warp_sum(value);
  if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = value;
  __syncthreads();
  T total = T(0);
  for (int warp = 0; warp < int(blockDim.x) / 32; ++warp) total += scratch[warp];
  __syncthreads();
  return total;
}

// The same of the largest number.
template <class T>
__device__ __forceinline__ T block_max(T value, T* scratch) {
  value = warp_max(value);
  if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = value;
  __syncthreads();
  T found = scratch[0];
  for (int warp = 1; warp < int(blockDim.x) / 32; ++warp) found = max(found, scratch[warp]);
  __syncthreads();
  return found;
}
