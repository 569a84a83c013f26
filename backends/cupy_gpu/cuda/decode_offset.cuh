// What the online memory's answer puts into the gates that are made of answers.
#pragma once
#include "decode.cuh"

struct AnswerGates {
  const Real *online, *bias;  // (H, V, V), (H, V)
  Real* offsets;              // (entries, V)
};

// offsets = answer @ online + bias; `whole` holds LANES numbers, and is free before and after.
__device__ __forceinline__ void find_offsets(AnswerGates gates, Real answer, Place place,
                                             int values, Real* whole, Real* scratch) {
  int lane = threadIdx.x % LANES;
  __syncthreads();
  if (threadIdx.x < LANES) whole[lane] = answer;
  __syncthreads();
  const Real* matrix = gates.online + (long long)place.head * values * values;
  Real sum = column_sum(values, scratch, [&](int i) {
    return lane < values ? whole[i] * matrix[i * values + lane] : Real(0);
  });
  if (threadIdx.x >= values) return;
  sum += gates.bias[place.head * values + lane];
  gates.offsets[(long long)place.entry * values + lane] = sum;
}
