// Products of matrices in shared memory that are named, not spelled out: a view says where they lie.
#pragma once
#include "tile.cuh"

#ifdef MC_EMULATED
#define MC_ONCE __attribute__((noinline))  // a source of many products is built in a tenth of the time
#else
#define MC_ONCE __forceinline__
#endif

// Entry (i, k) is sign . at[i down + k across], times by_row[i] and by_step[k] unless these are null.
struct View {
  const Real* at;
  int down, across;
  const Real *by_row, *by_step;
  Real sign;
  __device__ __forceinline__ Real operator()(int i, int k) const {
    Real value = sign * at[i * down + k * across];
    if (by_row) value *= by_row[i];
    if (by_step) value *= by_step[k];
    return value;
  }
};

// A matrix whose rows lie `apart`; its transpose; diag(scale) M; M diag(scale); -M.
__device__ __forceinline__ View of(const Real* at, int apart) {
  return {at, apart, 1, nullptr, nullptr, Real(1)};
}
__device__ __forceinline__ View turned(const Real* at, int apart) {
  return {at, 1, apart, nullptr, nullptr, Real(1)};
}
__device__ __forceinline__ View rows_times(const Real* scale, View view) {
  view.by_row = scale;
  return view;
}
__device__ __forceinline__ View columns_times(const Real* scale, View view) {
  view.by_step = scale;
  return view;
}
__device__ __forceinline__ View minus(View view) {
  view.sign = -view.sign;
  return view;
}

// tile += A B, of depth `depth`. All threads must call it.
template <class Any>
__device__ MC_ONCE void add_product(Any& tile, View a, View b, int depth) {
  tile.product([&](int i, int k) { return a(i, k); }, [&](int k, int j) { return b(k, j); }, depth);
}
