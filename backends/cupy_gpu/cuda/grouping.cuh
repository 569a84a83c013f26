// Sorting choices by column: counted a tile of tokens at a time, then placed. Whole numbers alone, and
// the same order whatever runs first.
#pragma once
#include "readers.cuh"

// counts (B, H, tiles, C): choices of each column among a tile's tokens.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    count_readers(const int* chosen, int* counts, int tokens, int heads, int columns, int top_k,
                  int tile) {
  MC_ARENA(arena);
  int* count = arena.take<int>(columns);
  int b = blockIdx.z, h = blockIdx.y, begin = blockIdx.x * tile, n = min(tile, tokens - begin);
  for (int c = threadIdx.x; c < columns; c += THREADS) count[c] = 0;
  __syncthreads();
  for (int e = threadIdx.x; e < n * top_k; e += THREADS) {
    long long token = (static_cast<long long>(b) * tokens + begin + e / top_k) * heads + h;
    int column = chosen[token * top_k + e % top_k];
    if (column >= 0) atomicAdd(count + column, 1);
  }
  __syncthreads();
  int* out = counts + (static_cast<long long>(b * heads + h) * gridDim.x + blockIdx.x) * columns;
  for (int c = threadIdx.x; c < columns; c += THREADS) out[c] = count[c];
}

// Counts become how many of a column come before each tile; offsets of columns, and of the parts of
// `part` entries that columns are read in.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    place_readers(int* counts, int* offsets, int* parts, int heads, int columns, int tiles,
                  int part) {
  MC_ARENA(arena);
  int* total = arena.take<int>(columns);
  int place = blockIdx.z * heads + blockIdx.y;
  int* count = counts + static_cast<long long>(place) * tiles * columns;
  for (int c = threadIdx.x; c < columns; c += THREADS) {
    int before = 0;
    for (int tile = 0; tile < tiles; ++tile) {
      int here = count[static_cast<long long>(tile) * columns + c];
      count[static_cast<long long>(tile) * columns + c] = before;
      before += here;
    }
    total[c] = before;
  }
  __syncthreads();
  if (threadIdx.x) return;
  int *offset = offsets + place * (columns + 1), *first_part = parts + place * (columns + 1);
  offset[0] = first_part[0] = 0;
  for (int c = 0; c < columns; ++c) {
    offset[c + 1] = offset[c] + total[c];
    first_part[c + 1] = first_part[c] + (total[c] + part - 1) / part;
  }
}

// Entries in order, given what `place_readers` left.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    sort_readers(const int* chosen, const int* counts, const int* offsets, int* entries, int tokens,
                 int heads, int columns, int top_k, int tile) {
  MC_ARENA(arena);
  int* column = arena.take<int>(tile * top_k);
  int b = blockIdx.z, h = blockIdx.y, begin = blockIdx.x * tile, place = b * heads + h;
  int n = min(tile, tokens - begin) * top_k;
  for (int e = threadIdx.x; e < n; e += THREADS) {
    long long token = (static_cast<long long>(b) * tokens + begin + e / top_k) * heads + h;
    column[e] = chosen[token * top_k + e % top_k];
  }
  __syncthreads();
  const int* before = counts + (static_cast<long long>(place) * gridDim.x + blockIdx.x) * columns;
  for (int e = threadIdx.x; e < n; e += THREADS) {
    int c = column[e], rank = 0;
    if (c < 0) continue;
    for (int other = 0; other < e; ++other) rank += column[other] == c;
    long long at = static_cast<long long>(place) * tokens * top_k;
    entries[at + offsets[place * (columns + 1) + c] + before[c] + rank] = begin * top_k + e;
  }
}
