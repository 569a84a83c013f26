// How a block shares out a vector memory: its rows are runs (`vector_runs.py`) that go in step.
//
// Four threads for each channel: thread 4 j + s sums a part of every product for all rows, and owns
// channel j of row s ROWS / 4, whose state stays in its registers.
#pragma once
#include "prefetch.cuh"

#ifndef MC_WIDTH
#define MC_WIDTH 64
#endif
#ifndef MC_ROWS
#define MC_ROWS 4
#endif

constexpr int WIDTH = MC_WIDTH, ROWS = MC_ROWS, THREADS = 4 * WIDTH;
constexpr int AHEAD = 8;  // steps by which memory is asked for before it is read
static_assert(ROWS == 1 || ROWS == 2 || ROWS == 4, "a thread owns one row's channel");

// Arrays over tokens are (rows, tokens, heads, .), checkpoints (rows, segments, heads, vectors, V).
struct Sizes {
  int segments, tokens, heads, width;
};

// The runs of a call and where they are cut: (count, 4) first row, first token, end, whether the
// memory goes on from the carried state; (rows, segments + 1); (rows, tokens).
struct Runs {
  const int *table, *bounds, *segments;
  int count;
};

// A run's tokens begin <= t < end, through which a memory goes on.
struct Run {
  int row, begin, end, segment, first, border;
  bool carried;

  // Beyond the last run: one without tokens.
  __device__ __forceinline__ Run(Runs runs, int index) {
    const int* run = runs.table + 4 * min(index, runs.count - 1);
    row = run[0];
    begin = run[1];
    end = index < runs.count ? run[2] : begin;
    carried = index < runs.count && run[3];
    segment = first = border = -1;
  }
  // To token t's segment, which is first <= t < border.
  __device__ __forceinline__ void enter(Runs runs, Sizes sizes, int t) {
    segment = runs.segments[(long long)row * sizes.tokens + t];
    const int* bound = runs.bounds + (long long)row * (sizes.segments + 1) + segment;
    first = bound[0];
    border = bound[1];
  }
  __device__ __forceinline__ long long token(int t, int head, Sizes sizes) const {
    return ((long long)row * sizes.tokens + t) * sizes.heads + head;
  }
  __device__ __forceinline__ long long checkpoint(int head, Sizes sizes) const {
    return ((long long)row * sizes.segments + segment) * sizes.heads + head;
  }
  __device__ __forceinline__ long long start(int head, Sizes sizes) const {
    return (long long)row * sizes.heads + head;
  }
};

// Of the block's rows the one whose channel this thread owns, and whether it is the first to.
__device__ __forceinline__ int owned_row() { return (threadIdx.x & 3) * ROWS / 4; }
__device__ __forceinline__ bool first_owner() { return (threadIdx.x & 3) % (4 / ROWS) == 0; }

// Steps of the block: runs come longest first.
__device__ __forceinline__ int steps_of_block(Runs runs) {
  const int* longest = runs.table + 4 * blockIdx.x * ROWS;
  return longest[2] - longest[1];
}

// `count` numbers that lie `apart`, or zeros.
template <int COUNT, class T>
__device__ __forceinline__ void fetch(Real (&to)[COUNT], const T* at, int apart, bool real) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) to[i] = real ? Real(at[i * apart]) : Real(0);
}

template <int COUNT, class T>
__device__ __forceinline__ void put(T* at, int apart, const Real (&from)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) at[i * apart] = T(from[i]);
}
