// The gates of a token: what they are made of, and where they go.
#pragma once
#include "decode_gates.cuh"

struct Routing {
  const Real *u, *temperature, *contexts;
  Real *key_sums, *weights, *shares, *logits;
  int* chosen;
  int keys, slots, top_k;
  Real scale, rate;

  // Those of the `top_k` best alone, where there are more checkpoints than that.
  __device__ __forceinline__ bool chooses(int count) const { return top_k > 0 && count > top_k; }
};

// The logit of the online memory, whose key sum takes in the token's `key`; `query` gets u, scaled.
__device__ __forceinline__ Real online_logit(const Routing& to, Plan plan, Place place, Books books,
                                             const Real* key, Real* query, Real* scratch) {
  Real scale = to.scale * (to.temperature ? to.temperature[place.head] : Real(1)), own = Real(0);
  for (int i = threadIdx.x; i < to.keys; i += THREADS) {
    Real& kept = to.key_sums[place.at * to.keys + i];
    Real sum = (books.length ? kept : Real(0)) + key[i];
    kept = sum;
    query[i] = scale * to.u[place.entry * to.keys + i];
    own += query[i] * sum;
  }
  own = block_sum(own, scratch);
  return plan.sums() ? own : own / Real(books.length + 1);
}

// Gates of all checkpoints, or of the chosen, and the online memory's share.
__device__ __forceinline__ void find_gates(const Routing& to, Plan plan, Place place, Books books,
                                           const Real* key, Real* query, Real* scratch, Best* best) {
  Real* weights = to.weights + (long long)place.entry * to.slots;
  if (plan.weights() != ROUTED) {
    for (int age = threadIdx.x; age < books.count; age += THREADS)
      weights[age] = weight_of(plan, age, books.count, to.rate);
    if (threadIdx.x == 0) to.shares[place.entry] = online_weight(plan, books.count, to.rate);
    return;
  }
  Real own = online_logit(to, plan, place, books, key, query, scratch);
  bool choice = to.chooses(books.count);
  Real* found = choice ? to.logits + (long long)place.entry * to.slots : weights;
  for (int age = threadIdx.x / 32; age < books.count; age += THREADS / 32) {
    long long slot = place.at * to.slots + slot_of(books, age, to.slots);
    Real logit = warp_dot(query, to.contexts + slot * to.keys, to.keys);
    if ((threadIdx.x & 31) == 0) found[age] = logit;
  }
  __syncthreads();
  if (choice)
    choose(found, books.count, to.top_k, weights, to.chosen + place.entry * to.top_k, best);
  int count = choice ? to.top_k : books.count;
  Real share = soften(weights, count, own, !plan.outside(), scratch);
  if (threadIdx.x == 0) to.shares[place.entry] = share;
}
