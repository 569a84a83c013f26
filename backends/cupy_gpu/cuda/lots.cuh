// Choosing a token's best checkpoints by score, and lots where scores are drawn: see mcore/router.py.
#pragma once
#include "base.cuh"

typedef unsigned long long Lot;

__device__ __forceinline__ Lot mix(Lot z) {  // the finaliser of SplitMix64
  z += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// `seed` is mixed already.
__device__ __forceinline__ Lot lot(Lot seed, int place, int head, int ordinal) {
  return mix(mix(mix(seed ^ Lot(place)) ^ Lot(head)) ^ Lot(ordinal)) >> 11;
}

// A column and its score; of equal scores the lower column comes first.
template <class Score>
struct Ranked {
  Score score;
  int column;
  __device__ __forceinline__ bool before(Ranked other) const {
    return score > other.score || (score == other.score && column < other.column);
  }
};

// The last of the `top_k` best columns first <= c < last, found by a whole warp; every lane gets it.
template <class Score, class F>
__device__ __forceinline__ Ranked<Score> last_chosen(F score, int first, int last, int top_k) {
  Ranked<Score> found = {Score(0), -1};
  for (int round = 0; round < top_k; ++round) {
    Ranked<Score> best = {Score(0), last};
    for (int c = first + int(threadIdx.x & 31); c < last; c += 32) {
      Ranked<Score> next = {score(c), c};
      if ((round == 0 || found.before(next)) && (best.column == last || next.before(best))) best = next;
    }
    for (int bits = 16; bits; bits >>= 1) {
      Ranked<Score> other = {__shfl_xor_sync(EVERY_LANE, best.score, bits),
                             __shfl_xor_sync(EVERY_LANE, best.column, bits)};
      bool there = other.column != last;
      if (there && (best.column == last || other.before(best))) best = other;
    }
    found = best;
  }
  return found;
}
