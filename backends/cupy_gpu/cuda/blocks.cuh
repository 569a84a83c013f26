// Matrix products of a whole block like those of `tile.cuh`, for matrices with structure along their
// blocks of 16 rows: each 16 x 8 unit of the result has its own range of the sum, and what is on
// the right may depend on which rows of the result it is for.
#pragma once
#include "mma.cuh"

constexpr int SUB = 16;  // rows of a unit, and tokens of a sub-chunk

struct Range {
  int first, last;  // multiples of 8
};

template <int M, int N, int THREADS>
struct Blocks {
  static_assert(M % 16 == 0 && N % 8 == 0, "units are 16 x 8");
  static constexpr int ACROSS = N / 8, UNITS = M / 16 * ACROSS, WARPS = THREADS / 32;
  static constexpr int OWN = (UNITS + WARPS - 1) / WARPS;
  static constexpr bool EVEN = UNITS % WARPS == 0;  // then no branches keep products apart
  Real x[OWN][4];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int own = 0; own < OWN; ++own)
      for (int i = 0; i < 4; ++i) x[own][i] = Real(0);
  }

  // += sum over k of a(i, k) b(k, j, first row of i's unit), for the k of range(first row, first
  // column of a unit), which lie within [0, depth). All threads must call it.
  template <class A, class B, class R>
  __device__ __forceinline__ void product(A a, B b, R range, int depth) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    for (int k = 0; k < depth; k += 8) {
#pragma unroll
      for (int own = 0; own < OWN; ++own) {
        int unit = (threadIdx.x >> 5) + own * WARPS;
        if (!EVEN && unit >= UNITS) break;
        int row = unit / ACROSS * 16, column = unit % ACROSS * 8;
        Range some = range(row, column);
        if (k < some.first || k >= some.last) continue;
        if constexpr (sizeof(Real) == 4 && MC_PRODUCTS > 0) {
          float rows[4] = {float(a(row + g, k + t)), float(a(row + g + 8, k + t)),
                           float(a(row + g, k + t + 4)), float(a(row + g + 8, k + t + 4))};
          float columns[2] = {float(b(k + t, column + g, row)), float(b(k + t + 4, column + g, row))};
          mma_float(reinterpret_cast<float(&)[4]>(x[own]), rows, columns);
        } else {
          int i = row + g, j = column + 2 * t;
          for (int m = k; m < k + 8; ++m) {
            Real upper = a(i, m), lower = a(i + 8, m), left = b(m, j, row), right = b(m, j + 1, row);
            x[own][0] += upper * left;
            x[own][1] += upper * right;
            x[own][2] += lower * left;
            x[own][3] += lower * right;
          }
        }
      }
    }
  }

  // Calls f(row, column, number &) for every number that this thread holds.
  template <class F>
  __device__ __forceinline__ void each(F f) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int own = 0; own < OWN; ++own) {
      int unit = (threadIdx.x >> 5) + own * WARPS;
      if (!EVEN && unit >= UNITS) break;
      int i = unit / ACROSS * 16 + g, j = unit % ACROSS * 8 + 2 * t;
      f(i, j, x[own][0]);
      f(i, j + 1, x[own][1]);
      f(i + 8, j, x[own][2]);
      f(i + 8, j + 1, x[own][3]);
    }
  }

  // Calls f(first row of a unit, column, sum over its 16 rows of weight(row, column) times the
  // number) for every column of every unit, in one lane each.
  template <class W, class F>
  __device__ __forceinline__ void column_sums(W weight, F f) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int own = 0; own < OWN; ++own) {
      int unit = (threadIdx.x >> 5) + own * WARPS;
      if (!EVEN && unit >= UNITS) break;
      int row = unit / ACROSS * 16, j = unit % ACROSS * 8 + 2 * t;
      for (int c = 0; c < 2; ++c) {
        Real sum = weight(row + g, j + c) * x[own][c] + weight(row + g + 8, j + c) * x[own][2 + c];
        for (int bits = 4; bits < 32; bits <<= 1) sum += __shfl_xor_sync(EVERY_LANE, sum, bits);
        if (g == 0) f(row, j + c, sum);
      }
    }
  }
};

// The whole depth, or what lies at or before a unit's rows, or at or after them.
struct Whole {
  int depth;
  __device__ __forceinline__ Range operator()(int, int) const { return {0, depth}; }
};
struct UpTo {
  __device__ __forceinline__ Range operator()(int row, int) const { return {0, row + 16}; }
};
struct From {
  int depth;
  __device__ __forceinline__ Range operator()(int row, int) const { return {row, depth}; }
};
