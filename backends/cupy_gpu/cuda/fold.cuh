// Sums over neighbouring lanes, shared out: a lane ends with some of the sums, not with all.
#pragma once
#include "base.cuh"

// Adds up `value` over each group of LANES lanes. Lane l of a group gets the COUNT / LANES sums
// from l COUNT / LANES on, at the array's beginning; with fewer numbers than lanes, the one number
// l COUNT / LANES, and several lanes the same bits.
template <int COUNT, int LANES>
__device__ __forceinline__ void fold(Real* value) {
  if constexpr (LANES > 1 && COUNT > 1) {
    bool upper = threadIdx.x & (LANES / 2);
#pragma unroll
    for (int i = 0; i < COUNT / 2; ++i) {
      Real sent = upper ? value[i] : value[i + COUNT / 2];
      Real held = upper ? value[i + COUNT / 2] : value[i];
      value[i] = held + __shfl_xor_sync(EVERY_LANE, sent, LANES / 2);
    }
    fold<COUNT / 2, LANES / 2>(value);
  } else if constexpr (LANES > 1) {
    value[0] += __shfl_xor_sync(EVERY_LANE, value[0], LANES / 2);
    fold<1, LANES / 2>(value);
  }
}
