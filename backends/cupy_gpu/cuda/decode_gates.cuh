// Gates of one token of one head: by content, by choice among contents, or by age.
#pragma once
#include "decode.cuh"

// Largest value and its lowest age among `count`, over the block; `best` holds a pair per warp.
struct Best {
  Real value;
  int age;
};

__device__ __forceinline__ Best better(Best a, Best b) {
  return b.value > a.value || (b.value == a.value && b.age < a.age) ? b : a;
}

__device__ __forceinline__ Best block_best(const Real* logits, int count, Best* scratch) {
  Best own = {Real(LOWEST), 0x7fffffff};
  for (int age = threadIdx.x; age < count; age += THREADS) own = better(own, {logits[age], age});
  for (int bits = 16; bits; bits >>= 1)
    own = better(own, {__shfl_xor_sync(EVERY_LANE, own.value, bits),
                       __shfl_xor_sync(EVERY_LANE, own.age, bits)});
  if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = own;
  __syncthreads();
  own = scratch[0];
  for (int warp = 1; warp < THREADS / 32; ++warp) own = better(own, scratch[warp]);
  __syncthreads();
  return own;
}

// Moves the logits of the `top_k` best to the front of `weights`, their ages to `chosen`.
__device__ __forceinline__ void choose(Real* logits, int count, int top_k, Real* weights,
                                       int* chosen, Best* scratch) {
  for (int rank = 0; rank < top_k; ++rank) {
    Best best = block_best(logits, count, scratch);
    if (threadIdx.x == 0) {
      chosen[rank] = best.age;
      weights[rank] = best.value;
      logits[best.age] = Real(LOWEST);
    }
    __syncthreads();
  }
}

// weights[i] <- exp(weights[i] - m) / sum, with `own` in the softmax if `inside`; returns its share.
__device__ __forceinline__ Real soften(Real* weights, int count, Real own, bool inside,
                                       Real* scratch) {
  Real largest = inside ? own : Real(LOWEST);
  for (int i = threadIdx.x; i < count; i += THREADS) largest = max(largest, weights[i]);
  largest = warp_max(largest);
  if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = largest;
  __syncthreads();
  for (int warp = 0; warp < THREADS / 32; ++warp) largest = max(largest, scratch[warp]);
  __syncthreads();
  Real sum = Real(0);
  for (int i = threadIdx.x; i < count; i += THREADS) {
    weights[i] = exp(weights[i] - largest);
    sum += weights[i];
  }
  sum = block_sum(sum, scratch);
  if (inside) sum += exp(own - largest);
  for (int i = threadIdx.x; i < count; i += THREADS) weights[i] /= sum;
  __syncthreads();
  return inside ? exp(own - largest) / sum : Real(1);
}

// What the checkpoint of an age counts for among `count`, and the online memory beside them.
__device__ __forceinline__ Real weight_of(Plan plan, int age, int count, Real rate) {
  if (plan.weights() == UNIFORM) return Real(1) / Real(count + 1);
  if (plan.weights() != FADING) return Real(1);
  Real weight = age == 0 ? Real(1) : rate;
  for (int newer = age; newer < count; ++newer) weight *= Real(1) - rate;
  return weight;
}
__device__ __forceinline__ Real online_weight(Plan plan, int count, Real rate) {
  if (plan.weights() == UNIFORM) return Real(1) / Real(count + 1);
  return plan.weights() == FADING && count ? rate : Real(1);
}
