// Products with a matrix (DEPTH x VALUES) that a whole block uses, in shared memory all at once if
// widths allow, else PART rows or columns of it at a time. For tiles of more threads than
// `answers.cuh` has: nothing is summed along rows here.
#pragma once
#include "states.cuh"

constexpr int MANY = ROWS == 64 ? 256 : THREADS;
constexpr bool WHOLE = KEYS <= 64 && VALUES <= 64;
constexpr int PART = KEYS % 32 || VALUES % 32 ? 16 : 32;

// Numbers in shared memory that a factor takes.
__host__ __device__ constexpr int factor_room(int depth) {
  int across = PART * PRODUCT_ROW, down = depth * padded(PART);
  return WHOLE ? depth * PRODUCT_ROW : across > down ? across : down;
}

template <int DEPTH>
struct Factor {
  Real* shared;
  Matrix<const Real> from;

  // All of it, if there is room: once before a barrier.
  __device__ __forceinline__ void begin() const {
    if (WHOLE) load<DEPTH, VALUES>(shared, PRODUCT_ROW, from);
  }
  // out (ROWS x VALUES) += left (ROWS x DEPTH) times it. Barriers inside if it comes in parts.
  template <class T>
  __device__ __forceinline__ void multiply(T& out, const Real* left, int apart, bool busy) const {
    constexpr int STEP = WHOLE ? DEPTH : PART;
    for (int at = 0; at < DEPTH; at += STEP) {
      if (!WHOLE) {
        __syncthreads();
        load<STEP, VALUES>(shared, PRODUCT_ROW, Matrix<const Real>{
            from.at + at * from.stride, from.stride, from.rows - at, from.columns});
        __syncthreads();
      }
      const Real *a = left + at, *b = shared;
      if (busy)
        out.product([&](int i, int k) { return a[i * apart + k]; },
                    [&](int k, int v) { return b[k * PRODUCT_ROW + v]; }, STEP);
    }
  }
  // out (ROWS x DEPTH) += left (ROWS x VALUES) times its transpose. Likewise.
  template <class T>
  __device__ __forceinline__ void multiply_transposed(T& out, const Real* left, int apart,
                                                      bool busy) const {
    constexpr int STEP = WHOLE ? VALUES : PART, ROW = WHOLE ? PRODUCT_ROW : padded(PART);
    for (int at = 0; at < VALUES; at += STEP) {
      if (!WHOLE) {
        __syncthreads();
        load<DEPTH, STEP>(shared, ROW, Matrix<const Real>{
            from.at + at, from.stride, from.rows, from.columns - at});
        __syncthreads();
      }
      const Real *a = left + at, *b = shared;
      if (busy)
        out.product([&](int i, int v) { return a[i * apart + v]; },
                    [&](int v, int k) { return b[k * ROW + v]; }, STEP);
    }
  }
};

typedef Tile<ROWS, VALUES, MANY> WideTile;  // a number for each token and value channel
typedef Tile<ROWS, KEYS, MANY> WideQueries;

// Whether any of the 16 tokens is real whose rows of such tiles this thread's warp holds.
__device__ __forceinline__ bool is_busy(Rows rows) {
  return int(threadIdx.x >> 5) % (ROWS / 16) * 16 < rows.count;
}

__device__ __forceinline__ Matrix<const Real> head_matrix(const Real* matrices, int h, int width) {
  return {matrices + static_cast<long long>(h) * width * width, width, width, width};
}
