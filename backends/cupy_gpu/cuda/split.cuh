// Floats as two TF32 halves, split once where they are a factor of many products.
//
// A conversion costs about as much as a product on the tensor cores, so `mma_float` is for factors
// that are used once.
#pragma once
#include "mma.cuh"

// value = high + low, but for about 2^-21 of it. Tensor cores ignore the bits that TF32 has not.
template <int N>
struct Split {
  unsigned high[N], low[N];
  __device__ __forceinline__ explicit Split(const float (&value)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      high[i] = tf32(value[i]);
      low[i] = __float_as_uint(value[i] - __uint_as_float(high[i]));
#ifdef MC_EMULATED
      low[i] &= ~0x1fffu;
#endif
    }
  }
};

// D += A B from as many TF32 products as `MC_PRODUCTS` says.
__device__ __forceinline__ void mma_split(float (&d)[4], const Split<4>& a, const Split<2>& b) {
#if MC_PRODUCTS == 3
  mma_tf32(d, a.low, b.high);
  mma_tf32(d, a.high, b.low);
#endif
  mma_tf32(d, a.high, b.high);
}
