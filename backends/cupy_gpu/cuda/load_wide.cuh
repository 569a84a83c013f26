// `load` four numbers at a time, where rows are whole and begin where a load of four may.
#pragma once
#include "load.cuh"

struct alignas(16) Quad {  // in shared memory
  Real x[4];
};

template <class T>
struct alignas(4 * sizeof(T)) Four {  // in global memory
  T x[4];
};

// to[i * apart + j] = from(i, j) for i < M, j < N, by all THREADS of the block. No barrier. N and
// `apart` are multiples of 4, and `to` begins on 16 bytes.
template <int M, int N, int THREADS, class T>
__device__ __forceinline__ void load_wide(Real* to, int apart, Matrix<const T> from) {
  static_assert(N % 4 == 0, "rows are fours");
  bool aligned = reinterpret_cast<unsigned long long>(from.at) % sizeof(Four<T>) == 0;
  if (from.columns < N || from.stride % 4 || !aligned) return load<M, N>(to, apart, from);
#pragma unroll 4
  for (int at = threadIdx.x; at < M * N / 4; at += THREADS) {
    int i = at / (N / 4), j = at % (N / 4) * 4;
    Four<T> all = {};
    if (i < from.rows) all = *reinterpret_cast<const Four<T>*>(from.at + i * from.stride + j);
    Quad converted;
#pragma unroll
    for (int part = 0; part < 4; ++part) converted.x[part] = Real(all.x[part]);
    *reinterpret_cast<Quad*>(to + i * apart + j) = converted;
  }
}
