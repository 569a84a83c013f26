// Warp-wide matrix products: D (16 x 8) += A (16 x 8) B (8 x 8).
//
// Lane (4 g + t) holds D[g][2t], D[g][2t+1], D[g+8][2t], D[g+8][2t+1]; A[g][t], A[g+8][t],
// A[g][t+4], A[g+8][t+4]; and B[t][g], B[t+4][g]: the layout of mma.m16n8k8 (PTX ISA).
#pragma once
#include "base.cuh"

// A float rounded to the 10 bits of mantissa that TF32 keeps, to nearest, ties away from zero. Plain
// integer operations: unlike `cvt.rna` the compiler can share them between products.
__device__ __forceinline__ unsigned tf32(float value) {
  return (__float_as_uint(value) + 0x1000u) & ~0x1fffu;
}

// The tensor cores ignore the lower 13 bits of what they multiply.
__device__ __forceinline__ void mma_tf32(float (&d)[4], const unsigned (&a)[4],
                                         const unsigned (&b)[2]) {
#ifdef MC_EMULATED
  emulation::warp_product(d, a, b);
#else
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// The same from floats: `MC_PRODUCTS` says from how many TF32 products.
__device__ __forceinline__ void mma_float(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
  unsigned a_high[4], b_high[2];
  for (int i = 0; i < 4; ++i) a_high[i] = tf32(a[i]);
  for (int i = 0; i < 2; ++i) b_high[i] = tf32(b[i]);
#if MC_PRODUCTS == 3
  unsigned a_low[4], b_low[2];
  for (int i = 0; i < 4; ++i) a_low[i] = __float_as_uint(a[i] - __uint_as_float(a_high[i]));
  for (int i = 0; i < 2; ++i) b_low[i] = __float_as_uint(b[i] - __uint_as_float(b_high[i]));
  mma_tf32(d, a_low, b_high);
  mma_tf32(d, a_high, b_low);
#endif
  mma_tf32(d, a_high, b_high);
}
