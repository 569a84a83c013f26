// Checkpoints as they are stored: MC_CODE 0 Real, 1 float, 2 half, 3 bfloat16, 4 bytes with a scale
// for each row of a state. Exactly what `mcore.cache.compact` stores.
#pragma once
#include "decode.cuh"

// The float nearest to a number, with the last bit set instead of a rounding: rounded once more, to
// fewer bits, it gives what the number itself does.
__device__ __forceinline__ float sticky(Real value) {
  float near = float(value);
  if (Real(near) == value || value != value) return near;
  unsigned bits = __float_as_uint(near);
  if (abs(Real(near)) > abs(value)) --bits;
  return __uint_as_float(bits | 1u);
}

struct Half {  // rounded to nearest, ties to even; beyond 65504 it is that
  unsigned short bits;
  Half() = default;
  __device__ __forceinline__ explicit Half(Real value) {
    if (abs(value) > Real(65504)) value = value > Real(0) ? Real(65504) : Real(-65504);
    unsigned all = __float_as_uint(sticky(value)), size = all & 0x7fffffffu, code;
    if (size > 0x7f800000u) {
      code = 0x7e00u;
    } else if (size < 0x38800000u) {  // below 2^-14: steps of 2^-24, as floats at 1/2 have
      code = __float_as_uint(__uint_as_float(size) + 0.5f) - 0x3f000000u;
    } else {
      code = (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13;
    }
    bits = static_cast<unsigned short>(code | (all >> 16 & 0x8000u));
  }
  // Exponent and fraction move into place, 2^112 mends the exponent's bias.
  __device__ __forceinline__ operator float() const {
    unsigned size = (bits & 0x7fffu) << 13;
    float found = __uint_as_float(size | (bits & 0x8000u) << 16) * __uint_as_float(0x77800000u);
    return size < 0x0f800000u ? found : __uint_as_float(size | 0x7f800000u);
  }
};

#if MC_CODE == 1
typedef float Code;
#elif MC_CODE == 2
typedef Half Code;
#elif MC_CODE == 3
typedef Bfloat16 Code;
#elif MC_CODE == 4
typedef signed char Code;
#else
typedef Real Code;
#endif

#if MC_CODE == 4
constexpr bool SCALED = true;
#else
constexpr bool SCALED = false;
#endif

// A row of a state as bytes, and its scale; by a warp.
__device__ __forceinline__ void store_row(const Real* row, Code* codes, float* scale, int width) {
  Real largest = Real(0);
  for (int j = threadIdx.x & 31; j < width; j += 32) largest = max(largest, abs(row[j]));
  float found = float(warp_max(largest) / Real(127));
  Real divisor = found > 0.0f ? Real(found) : Real(1);
  for (int j = threadIdx.x & 31; j < width; j += 32) {
    Real level = Real(rint(row[j] / divisor));
    codes[j] = Code(max(Real(-127), min(level, Real(127))));
  }
  if ((threadIdx.x & 31) == 0) *scale = found;
}

// A state (rows, width) becomes a checkpoint.
__device__ __forceinline__ void store_state(const Real* state, Code* codes, float* scales, int rows,
                                            int width) {
  if (SCALED) {
    for (int i = threadIdx.x / 32; i < rows; i += THREADS / 32)
      store_row(state + i * width, codes + i * width, scales + i, width);
  } else {
    for (int i = threadIdx.x; i < rows * width; i += THREADS) codes[i] = Code(state[i]);
  }
}
