// A chunk: a few tokens of one segment, row and head, worked on as matrices; and where states lie.
//
// Chunks, and chains of chunks through which a memory goes on, come as tables from `chunks.py`.
// Widths are cut into tiles of MC_KEYS and MC_VALUES columns, filled up with zeros.
#pragma once
#include "copy.cuh"
#include "tile.cuh"

constexpr int ROWS = MC_ROWS, KEYS = MC_KEYS, VALUES = MC_VALUES, THREADS = 128;
constexpr int ROW_APART = padded(ROWS), KEY_APART = padded(KEYS), VALUE_APART = padded(VALUES);
constexpr int KEY_BLOCK = ROWS * KEY_APART, VALUE_BLOCK = ROWS * VALUE_APART;
constexpr int ROW_BLOCK = ROWS * ROW_APART, STATE_BLOCK = KEYS * VALUE_APART;

__host__ __device__ constexpr int larger(int a, int b) { return a > b ? a : b; }

struct Sizes {
  int tokens, heads, keys, values, segments;
  __device__ __forceinline__ long long state() const { return (long long)keys * values; }
};

// Codes of a state's place; others, from 0, are numbers of states inside segments.
constexpr int NOWHERE = -1, CARRIED = -2, FIRST_END = -3;

struct Chunk {
  int head, row, begin, count;
  int start, end, gradient;  // codes: of the state before, the state after, the latter's gradient

  __device__ __forceinline__ long long token(const Sizes& sizes) const {
    return ((long long)row * sizes.tokens + begin) * sizes.heads + head;
  }
  // Its tokens in an array (B, T, H, width), from column `first`.
  template <class T>
  __device__ __forceinline__ Matrix<T> of(T* all, const Sizes& sizes, int width, int first) const {
    return {all + token(sizes) * width + first, (long long)sizes.heads * width, count,
            width - first};
  }
};

__device__ __forceinline__ Chunk chunk_of(const int* chunks, int index, int head) {
  const int* it = chunks + 6 * (long long)index;
  return {head, it[0], it[1], it[2], it[3], it[4], it[5]};
}

// States or their gradients: inside segments (., H, K, V), at ends (B, S, H, K, V), carried.
struct States {
  Real *inner, *ends, *carried;

  // (K, V) of a head; null if nothing is there.
  __device__ __forceinline__ Real* at(int code, int row, int head, const Sizes& sizes) const {
    if (code == NOWHERE) return nullptr;
    if (code == CARRIED)
      return carried ? carried + ((long long)row * sizes.heads + head) * sizes.state() : nullptr;
    if (code >= 0) return inner + ((long long)code * sizes.heads + head) * sizes.state();
    long long segment = (long long)row * sizes.segments + (FIRST_END - code);
    return ends + (segment * sizes.heads + head) * sizes.state();
  }
};

template <class T>
__device__ __forceinline__ void ask_keys(Real* to, Matrix<T> from) {
  ask<ROWS, KEYS, THREADS>(to, KEY_APART, from);
}
template <class T>
__device__ __forceinline__ void ask_values(Real* to, Matrix<T> from) {
  ask<ROWS, VALUES, THREADS>(to, VALUE_APART, from);
}

// How kernels take them, whose arguments are numbers and pointers.
#define SIZES int tokens, int heads, int keys, int values, int segments
#define STATES(name) Real *name##_inner, Real *name##_ends, Real *name##_carried
#define GIVEN_SIZES {tokens, heads, keys, values, segments}
#define GIVEN(name) {name##_inner, name##_ends, name##_carried}

// A tile of a state, from key `k` and value `v` on.
__device__ __forceinline__ Matrix<Real> state_tile(Real* state, const Sizes& sizes, int k, int v) {
  return {state + (long long)k * sizes.values + v, sizes.values, sizes.keys - k, sizes.values - v};
}

__device__ __forceinline__ void ask_state(Real* to, Matrix<Real> from) {
  ask<KEYS, VALUES, THREADS>(to, VALUE_APART, from);
}
