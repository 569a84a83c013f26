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
  if (!plan.sums()) own /= Real(books.length + 1);
  if (threadIdx.x == 0) to.own_logits[place.entry] = own;
}

constexpr int TOGETHER = 4;  // contexts that a warp fetches at the same time

// The checkpoints' in the share of this block: number `part` of `parts`. `query` holds K numbers.
__device__ __forceinline__ void checkpoint_logits(const Routing& to, Place place, Books books,
                                                  int part, int parts, Real* query) {
  Share share(books.count, part, parts);
  if (share.begin >= share.end) return;
  for (int i = threadIdx.x; i < to.keys; i += THREADS) query[i] = to.query(place, i);
  __syncthreads();
  Real* logits = to.logits + (long long)place.entry * to.slots;
  for (int first = share.begin + TOGETHER * (threadIdx.x / 32); first < share.end;
       first += TOGETHER * (THREADS / 32)) {
    const Real* contexts[TOGETHER];
    Real sums[TOGETHER] = {};
    for (int e = 0; e < TOGETHER; ++e) {
      int slot = slot_of(books, min(first + e, share.end - 1), to.slots);
      contexts[e] = to.contexts + (place.at * to.slots + slot) * to.keys;
    }
    for (int i = threadIdx.x & 31; i < to.keys; i += 32)
      for (int e = 0; e < TOGETHER; ++e) sums[e] += query[i] * contexts[e][i];
    for (int e = 0; e < TOGETHER; ++e) {
      Real logit = warp_sum(sums[e]);
      if ((threadIdx.x & 31) == 0 && first + e < share.end) logits[first + e] = logit;
    }
  }
}
