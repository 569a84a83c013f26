// Causal softmax attention, y_t = sum_j softmax_j(q_t . k_j / sqrt(K)) v_j, by blocks.
//
// q (B, T, H, K), k (B, M, H, K), v (B, M, H, V): the queries are the last T of M positions, and
// see `reach` positions with their own. A block's four warps have 16 rows each of 64.
#pragma once
#include "copy.cuh"
#include "strip.cuh"

#ifndef MC_KEYS
#define MC_KEYS 64
#endif
#ifndef MC_VALUES
#define MC_VALUES 64
#endif

constexpr int KEYS = MC_KEYS, VALUES = MC_VALUES, THREADS = 128, SIDE = 64;
constexpr bool WIDE = KEYS > 64 || VALUES > 64;
// Columns of a block: as many as registers and shared memory have room for.
constexpr int FORWARD = sizeof(Real) == 4 ? 64 : 32;
constexpr int BACKWARD = sizeof(Real) == 8 && WIDE ? 16 : 32;
// Blocks of a multiprocessor for which registers must do: shared memory does for as many.
constexpr int FORWARD_BLOCKS = WIDE || sizeof(Real) == 8 ? 2 : 4;
constexpr int BACKWARD_BLOCKS = WIDE || sizeof(Real) == 8 ? 2 : 3;
constexpr int K_APART = padded(KEYS), V_APART = padded(VALUES);

struct Shape {
  int tokens, positions, heads, keys, values, reach;
};

// Which queries see which keys.
struct Sight {
  Shape shape;
  // The position of query t.
  __device__ __forceinline__ int position(int t) const {
    return shape.positions - shape.tokens + t;
  }
  __device__ __forceinline__ bool sees(int t, int key) const {
    int distance = position(t) - key;
    return distance >= 0 && distance < shape.reach;
  }
  // Whether all queries of a block see all its keys.
  __device__ __forceinline__ bool whole(int t, int queries, int key, int keys) const {
    return key + keys - 1 <= position(t) && position(t + queries - 1) - key < shape.reach;
  }
  // The keys first <= j < end that some of the queries of a block from t on see.
  __device__ __forceinline__ int first_key(int t) const {
    return max(0, position(t) - shape.reach + 1);
  }
  __device__ __forceinline__ int end_key(int t) const {
    return position(min(t + SIDE, shape.tokens));
  }
  // The queries first <= t < end that see some of the keys of a block from `key` on.
  __device__ __forceinline__ int first_query(int key) const {
    return max(0, key - position(0));
  }
  __device__ __forceinline__ int end_query(int key) const {
    int last = min(key + SIDE, shape.positions) - 1 - position(0);
    return min(shape.tokens, last + shape.reach);
  }
};

// Rows t, t + 1, ... of the block's head of (B, count, H, width). Grids are (blocks, H, B).
template <class T>
__device__ __forceinline__ Matrix<T> head_rows(T* all, int t, int count, int width, int heads) {
  int row = blockIdx.z, head = blockIdx.y;
  T* at = all + (((long long)row * count + t) * heads + head) * width;
  return {at, (long long)heads * width, count - t, width};
}

// Asks for M rows of N numbers, which lie padded(N) apart then (`copy.cuh`). Loops stay loops here:
// unrolled, every row's address would have registers of its own for all of the kernel.
template <int M, int N>
__device__ __forceinline__ void ask_rows(Real* to, Matrix<const Token> from) {
  constexpr int EACH = 16 / int(sizeof(Real)), ACROSS = N / EACH;
  bool wide = sizeof(Token) == sizeof(Real) && from.columns >= N && from.stride % EACH == 0 &&
              reinterpret_cast<unsigned long long>(from.at) % 16 == 0;
  if (wide) {
#pragma unroll 1
    for (int at = threadIdx.x; at < M * ACROSS; at += THREADS) {
      int i = at / ACROSS, j = at % ACROSS * EACH;
      bool real = i < from.rows;
      ask_bytes<16>(to + i * padded(N) + j, from.at + (real ? i : 0) * from.stride + j, real);
    }
  } else {
#pragma unroll 1
    for (int at = threadIdx.x; at < M * N; at += THREADS)
      to[at / N * padded(N) + at % N] = from.get(at / N, at % N);
  }
}

// Number t of the block's head of (B, count, H), or 0.
__device__ __forceinline__ Real head_number(const Real* all, int t, int count, int heads) {
  int row = blockIdx.z, head = blockIdx.y;
  return t < count ? all[((long long)row * count + t) * heads + head] : Real(0);
}

// to = a b^T, rows a of the warp and all rows b of the block, DEPTH numbers each, lying APART.
template <int DEPTH, int N>
__device__ __forceinline__ void multiply(Strip<N>& to, const Real* a, const Real* b) {
  constexpr int APART = padded(DEPTH);
  int above = rows_above();
  to.clear();
  to.product([&](int i, int d) { return a[(above + i) * APART + d]; },
             [&](int d, int j) { return b[j * APART + d]; }, DEPTH);
}

// to += weights b, for all rows b of the block.
template <int N, int DEPTH>
__device__ __forceinline__ void gather(Strip<N>& to, const Strip<DEPTH>& weights, const Real* b) {
  to.product(weights, [&](int j, int d) { return b[j * padded(N) + d]; });
}
