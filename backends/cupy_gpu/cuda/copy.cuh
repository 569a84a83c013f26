// Tiles copied from global to shared memory while threads do other things.
//
//     ask<M, N, THREADS>(to, apart, from);  ...  arrived();       // what was asked for is there
//     ask(...); close_group(); ask(...); close_group(); arrived<1>();     // the first group is
#pragma once
#include "load.cuh"

// Asks for `BYTES` bytes (4, 8 or 16, both aligned to them), or zeros where nothing is `real`.
template <int BYTES>
__device__ __forceinline__ void ask_bytes(void* to, const void* from, bool real) {
#ifdef MC_EMULATED
  emulation::ask_copy(to, from, BYTES, real);
#else
  unsigned place = unsigned(__cvta_generic_to_shared(to));
  if constexpr (BYTES == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from),
                 "r"(real ? 16 : 0) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(place), "l"(from),
                 "n"(BYTES), "r"(real ? BYTES : 0) : "memory");
#endif
}

__device__ __forceinline__ void close_group() {
#ifdef MC_EMULATED
  emulation::close_group();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until everything that the block asked for is there, but the last LEFT groups. A barrier.
template <int LEFT = 0>
__device__ __forceinline__ void arrived() {
  if (LEFT == 0) close_group();
#ifdef MC_EMULATED
  emulation::finish_copies(LEFT);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
  __syncthreads();
}

// to[i * apart + j] = from(i, j) for i < M, j < N, zeros outside; `from` has an entry at least.
// Rows of `to` are 16-byte aligned. Numbers of another type are converted on the way, at once.
template <int M, int N, int THREADS, class T>
__device__ __forceinline__ void ask(Real* to, int apart, Matrix<T> from) {
  static_assert(N % 4 == 0, "rows are made of fours");
  if constexpr (sizeof(T) == sizeof(Real)) {
    constexpr int EACH = 16 / int(sizeof(Real));
    bool wide = from.columns >= N && from.stride % EACH == 0 &&
                reinterpret_cast<unsigned long long>(from.at) % 16 == 0;
    if (wide) {
#pragma unroll
      for (int n = 0; n < (M * N / EACH + THREADS - 1) / THREADS; ++n) {
        int at = threadIdx.x + n * THREADS, i = at / (N / EACH), j = at % (N / EACH) * EACH;
        if (M * N / EACH % THREADS && at >= M * N / EACH) break;
        bool real = i < from.rows;
        ask_bytes<16>(to + i * apart + j, from.at + (real ? i : 0) * from.stride + j, real);
      }
    } else {
#pragma unroll 4
      for (int at = threadIdx.x; at < M * N; at += THREADS) {
        int i = at / N, j = at % N;
        bool real = i < from.rows && j < from.columns;
        const T* place = from.at + (real ? i : 0) * from.stride + (real ? j : 0);
        ask_bytes<sizeof(Real)>(to + i * apart + j, place, real);
      }
    }
  } else {
#pragma unroll 8
    for (int at = threadIdx.x; at < M * N; at += THREADS)
      to[at / N * apart + at % N] = from.near(at / N, at % N);
  }
}
