// Gates of one token of one head: by content, by choice among contents, or by age. Every block that
// reads some of the checkpoints works them out from all logits, for itself.
#pragma once
#include "decode.cuh"

struct Best {
  Real value;
  int age;
};

__device__ __forceinline__ bool before(Best a, Best b) {  // in the order of choice
  return a.value > b.value || (a.value == b.value && a.age < b.age);
}

// The first of `count` logits after `last`, in the order of choice; `scratch` holds a pair for each
// warp. Its age is `count` if there is none, which is so where logits are NaN.
__device__ __forceinline__ Best next_best(const Real* logits, int count, Best last, Best* scratch) {
  Best own = {Real(LOWEST), count};
  for (int age = threadIdx.x; age < count; age += THREADS) {
    Best here = {logits[age], age};
    if (before(last, here) && before(here, own)) own = here;
  }
  for (int bits = 16; bits; bits >>= 1) {
    Best other = {__shfl_xor_sync(EVERY_LANE, own.value, bits),
                  __shfl_xor_sync(EVERY_LANE, own.age, bits)};
    if (before(other, own)) own = other;
  }
  if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = own;
  __syncthreads();
  own = scratch[0];
  for (int warp = 1; warp < THREADS / 32; ++warp)
    if (before(scratch[warp], own)) own = scratch[warp];
  __syncthreads();
  return own;
}

// The `top_k` best logits and their ages; ends with a barrier.
__device__ __forceinline__ void choose(const Real* logits, int count, int top_k, Real* scores,
                                       int* ages, Best* scratch) {
  Best last = {-Real(LOWEST), -1};
  for (int rank = 0; rank < top_k; ++rank) {
    last = next_best(logits, count, last, scratch);
    int age = last.age < count ? last.age : rank;
    if (threadIdx.x == 0) {
      scores[rank] = logits[age];
      ages[rank] = age;
    }
  }
  __syncthreads();
}

// What the checkpoint of an age counts for among `count`, and the online memory beside them.
__device__ __forceinline__ Real weight_of(Plan plan, int age, int count, Real rate) {
  if (plan.weights() == UNIFORM) return Real(1) / Real(count + 1);
  if (plan.weights() != FADING) return Real(1);
  return (age == 0 ? Real(1) : rate) * Real(pow(Real(1) - rate, Real(count - age)));
}
__device__ __forceinline__ Real online_weight(Plan plan, int count, Real rate) {
  if (plan.weights() == UNIFORM) return Real(1) / Real(count + 1);
  return plan.weights() == FADING && count ? rate : Real(1);
}

struct Gates {
  const Real* scores;  // logits of those that are read
  const int* ages;     // null where all are, the oldest first
  int held, count;     // checkpoints that there are, and that are read
  Real largest, sum, share;  // of the softmax; the online memory's gate

  __device__ __forceinline__ int age(int i) const { return ages ? ages[i] : i; }
  __device__ __forceinline__ Real weight(Plan plan, int i, Real rate) const {
    if (plan.weights() == ROUTED) return exp(scores[i] - largest) / sum;
    return weight_of(plan, i, held, rate);
  }
  // A softmax over what is read, and over the online memory if its logit `own` is `inside`.
  __device__ __forceinline__ void soften(Real own, bool inside, Real* scratch) {
    largest = inside ? own : Real(LOWEST);
    for (int i = threadIdx.x; i < count; i += THREADS) largest = max(largest, scores[i]);
    largest = block_max(largest, scratch);
    sum = Real(0);
    for (int i = threadIdx.x; i < count; i += THREADS) sum += exp(scores[i] - largest);
    sum = block_sum(sum, scratch);
    if (inside) sum += exp(own - largest);
    share = inside ? exp(own - largest) / sum : Real(1);
  }
};
