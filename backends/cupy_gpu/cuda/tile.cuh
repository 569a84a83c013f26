// A matrix product of a whole block, its result in registers: C (M x N) += A B.
//
// The warps share 16 x 8 units of C; a lane holds four numbers of each, as `mma.cuh` lays them out.
// A and B are functions of (row, column), so transposes, masks, scales and strides cost no copy.
#pragma once
#include "mma.cuh"

#ifdef MC_DEPTH_UNROLL  // sources of many products take few steps at once, or registers run out
constexpr int DEPTH_UNROLL = MC_DEPTH_UNROLL;
#endif

template <int M, int N, int THREADS>
struct Tile {
  static_assert(M % 16 == 0 && N % 8 == 0, "units are 16 x 8");
  static constexpr int DOWN = M / 16, UNITS = DOWN * (N / 8), WARPS = THREADS / 32;
  static constexpr int OWN = (UNITS + WARPS - 1) / WARPS;
  static constexpr bool EVEN = UNITS % WARPS == 0;  // then no branches keep products apart
  Real x[OWN][4];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int own = 0; own < OWN; ++own)
      for (int i = 0; i < 4; ++i) x[own][i] = Real(0);
  }

  // += sum over k < depth of a(i, k) b(k, j); depth is a multiple of 8. All threads must call it.
  template <class A, class B>
  __device__ __forceinline__ void product(A a, B b, int depth) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#ifdef MC_DEPTH_UNROLL
#pragma unroll DEPTH_UNROLL
#endif
    for (int k = 0; k < depth; k += 8) {
#pragma unroll
      for (int own = 0; own < OWN; ++own) {
        int unit = first_unit() + own * WARPS;
        if (!EVEN && unit >= UNITS) break;
        int i = unit % DOWN * 16 + g, j = unit / DOWN * 8;
        if constexpr (sizeof(Real) == 4 && MC_PRODUCTS > 0) {
          float rows[4] = {float(a(i, k + t)), float(a(i + 8, k + t)), float(a(i, k + t + 4)),
                           float(a(i + 8, k + t + 4))};
          float columns[2] = {float(b(k + t, j + g)), float(b(k + t + 4, j + g))};
          mma_float(reinterpret_cast<float(&)[4]>(x[own]), rows, columns);
        } else {
          j += 2 * t;
          for (int m = k; m < k + 8; ++m) {
            Real upper = a(i, m), lower = a(i + 8, m), left = b(m, j), right = b(m, j + 1);
            x[own][0] += upper * left;
            x[own][1] += upper * right;
            x[own][2] += lower * left;
            x[own][3] += lower * right;
          }
        }
      }
    }
  }

  // Calls f(row, column, number) for every number that this thread holds.
  template <class F>
  __device__ __forceinline__ void each(F f) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int own = 0; own < OWN; ++own) {
      int unit = first_unit() + own * WARPS;
      if (!EVEN && unit >= UNITS) break;
      int i = unit % DOWN * 16 + g, j = unit / DOWN * 8 + 2 * t;
      f(i, j, x[own][0]);
      f(i, j + 1, x[own][1]);
      f(i + 8, j, x[own][2]);
      f(i + 8, j + 1, x[own][3]);
    }
  }

  static __device__ __forceinline__ int first_unit() { return threadIdx.x >> 5; }
};
