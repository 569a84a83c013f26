// A matrix product of one warp, its result in registers: 16 rows, N columns.
//
// Lane 4 g + t holds, of unit u, columns 8 u + 2 t and 8 u + 2 t + 1 of rows g and g + 8. So whole
// rows lie in four lanes, and a strip can be the left factor of a further product where it is.
#pragma once
#include "load.cuh"
#include "split.cuh"

template <int N>
struct Strip {
  static_assert(N % 8 == 0, "units are 8 columns wide");
  static constexpr int UNITS = N / 8;
  Real x[UNITS][4];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int unit = 0; unit < UNITS; ++unit)
      for (int i = 0; i < 4; ++i) x[unit][i] = Real(0);
  }

  // += sum over k < depth of a(i, k) b(k, j) for the warp's rows i < 16; depth is a multiple of 8.
  template <class A, class B>
  __device__ __forceinline__ void product(A a, B b, int depth) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll 2
    for (int k = 0; k < depth; k += 8) {
      if constexpr (sizeof(Real) == 4 && MC_PRODUCTS > 0) {
        Split<4> rows({float(a(g, k + t)), float(a(g + 8, k + t)), float(a(g, k + t + 4)),
                       float(a(g + 8, k + t + 4))});
#pragma unroll
        for (int unit = 0; unit < UNITS; ++unit) {
          int j = 8 * unit + g;
          Split<2> columns({float(b(k + t, j)), float(b(k + t + 4, j))});
          mma_split(reinterpret_cast<float(&)[4]>(x[unit]), rows, columns);
        }
      } else {
        for (int m = k; m < k + 8; ++m) add(a(g, m), a(g + 8, m), [&](int j) { return b(m, j); });
      }
    }
  }

  // += left b, where b(k, j) has as many rows as `left` has columns. On tensor cores the sum runs
  // over k in an order in which every lane multiplies what it holds already.
  template <int DEPTH, class B>
  __device__ __forceinline__ void product(const Strip<DEPTH>& left, B b) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int from = 0; from < DEPTH / 8; ++from) {
      const Real(&w)[4] = left.x[from];
      if constexpr (sizeof(Real) == 4 && MC_PRODUCTS > 0) {
        Split<4> rows({float(w[0]), float(w[2]), float(w[1]), float(w[3])});
        int k = 8 * from + 2 * t;
#pragma unroll
        for (int unit = 0; unit < UNITS; ++unit) {
          Split<2> columns({float(b(k, 8 * unit + g)), float(b(k + 1, 8 * unit + g))});
          mma_split(reinterpret_cast<float(&)[4]>(x[unit]), rows, columns);
        }
      } else {
#pragma unroll
        for (int m = 0; m < 8; ++m) {
          Real upper = __shfl_sync(EVERY_LANE, w[m & 1], m >> 1, 4);
          Real lower = __shfl_sync(EVERY_LANE, w[2 + (m & 1)], m >> 1, 4);
          add(upper, lower, [&](int j) { return b(8 * from + m, j); });
        }
      }
    }
  }

  // Calls f(row, column, number) for every number that this lane holds.
  template <class F>
  __device__ __forceinline__ void each(F f) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int unit = 0; unit < UNITS; ++unit)
#pragma unroll
      for (int i = 0; i < 4; ++i) f(g + i / 2 * 8, 8 * unit + 2 * t + i % 2, x[unit][i]);
  }

  template <class B>
  __device__ __forceinline__ void add(Real upper, Real lower, B b) {
    int t = threadIdx.x & 3;
#pragma unroll
    for (int unit = 0; unit < UNITS; ++unit)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        Real right = b(8 * unit + 2 * t + i);
        x[unit][i] += upper * right;
        x[unit][2 + i] += lower * right;
      }
  }
};

// Over the four lanes that hold one row of a strip.
__device__ __forceinline__ Real row_sum(Real value) {
  value += __shfl_xor_sync(EVERY_LANE, value, 1);
  return value + __shfl_xor_sync(EVERY_LANE, value, 2);
}
__device__ __forceinline__ Real row_max(Real value) {
  value = max(value, __shfl_xor_sync(EVERY_LANE, value, 1));
  return max(value, __shfl_xor_sync(EVERY_LANE, value, 2));
}

// Where the rows of this thread's warp begin in a block whose warps share rows out.
__device__ __forceinline__ int rows_above() { return int(threadIdx.x >> 5) * 16; }

// A warp's strip to its rows of a matrix in global memory, times `scale`; only what is real.
template <int N, class T>
__device__ __forceinline__ void store(Strip<N>& from, Matrix<T> to, Real scale) {
  int above = rows_above();
  from.each([&](int i, int j, Real x) {
    i += above;
    if (i < to.rows && j < to.columns) to.at[i * to.stride + j] = T(scale * x);
  });
}
