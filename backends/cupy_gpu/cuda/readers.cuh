// Tokens gathered by the checkpoint that they chose.
//
// chosen (B, T, H, k): the columns that a token reads, best first, -1 where there are fewer. An entry
// t * k + slot is one choice of one token; entries (B, H, T * k) are sorted by column, then by entry,
// and those of column c lie at offsets (B, H, C + 1) [c] up to [c + 1].
#pragma once
#include "states.cuh"

// Some entries of one column, for which a block reads its checkpoint.
struct Readers {
  const int* entries;
  int count, top_k, b, h, tokens, heads;
  // Where the token and the choice of entry i lie in arrays (B, T, H) and (B, T, H, k).
  __device__ __forceinline__ long long token(int i) const {
    return (static_cast<long long>(b) * tokens + entries[i] / top_k) * heads + h;
  }
  __device__ __forceinline__ long long choice(int i) const {
    return token(i) * top_k + entries[i] % top_k;
  }
  __device__ __forceinline__ bool busy() const { return int(threadIdx.x >> 5) * 16 < count; }
};

// Entries from <= e < to of the block's row and head, at most ROWS of them.
__device__ __forceinline__ Readers readers_from(const int* entries, int from, int to, int top_k,
                                                int tokens, int heads) {
  int b = blockIdx.z, h = blockIdx.y;
  long long start = static_cast<long long>(b * heads + h) * tokens * top_k + from;
  return {entries + start, max(0, min(ROWS, to - from)), top_k, b, h, tokens, heads};
}

// Rows of (B, T, H, width) of the entries' tokens; zeros behind. No barrier.
template <int WIDTH>
__device__ __forceinline__ void gather(Real* to, int apart, const Token* from, Readers readers,
                                       int width) {
  for (int at = threadIdx.x; at < ROWS * WIDTH; at += THREADS) {
    int i = at / WIDTH, j = at % WIDTH;
    bool real = i < readers.count && j < width;
    to[i * apart + j] = real ? Real(from[readers.token(i) * width + j]) : Real(0);
  }
}
