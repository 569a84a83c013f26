// Logits of a token's gates: the online memory's, and those of the checkpoints by many blocks.
#pragma once
#include "decode.cuh"

struct Routing {
  const Real *u, *temperature, *contexts;  // (entries, K), (H) or null, (B, H, slots, K)
  Real *key_sums, *own_logits, *logits;    // (B, H, K), (entries), (entries, slots)
  int keys, slots;
  Real scale;

  __device__ __forceinline__ Real query(Place place, int i) const {
    Real heat = temperature ? temperature[place.head] : Real(1);
    return scale * heat * u[(long long)place.entry * keys + i];
  }
};

// The online memory's, whose key sum takes in the token's `key`.
__device__ __forceinline__ void online_logit(const Routing& to, Plan plan, Place place, Books books,
                                             const Real* key, Real* scratch) {
  Real own = Real(0);
  for (int i = threadIdx.x; i < to.keys; i += THREADS) {
    Real& kept = to.key_sums[place.at * to.keys + i];
    Real sum = (books.length ? kept : Real(0)) + key[i];
    kept = sum;
    own += to.query(place, i) * sum;
  }
  own = block_sum(own, scratch);
  if (threadIdx.x == 0) to.own_logits[place.entry] = plan.sums() ? own : own / Real(books.length + 1);
}

// The checkpoints' in the share of this block: number `part` of `parts`. `query` holds K numbers.
__device__ __forceinline__ void checkpoint_logits(const Routing& to, Place place, Books books,
                                                  int part, int parts, Real* query) {
  Share share(books.count, part, parts);
  if (share.begin >= share.end) return;
  for (int i = threadIdx.x; i < to.keys; i += THREADS) query[i] = to.query(place, i);
  __syncthreads();
  for (int age = share.begin + threadIdx.x / 32; age < share.end; age += THREADS / 32) {
    long long slot = place.at * to.slots + slot_of(books, age, to.slots);
    Real logit = warp_dot(query, to.contexts + slot * to.keys, to.keys);
    if ((threadIdx.x & 31) == 0) to.logits[(long long)place.entry * to.slots + age] = logit;
  }
}
