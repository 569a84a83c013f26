// What every source begins with: the types, exact conversions, and shared memory by name.
//
// Real is what states, gates and sums are made of; Token is how arrays over tokens are stored.
// Compiled with -DMC_REAL=float|double and -DMC_TOKEN=float|double|Bfloat16.
#pragma once

struct Bfloat16 {  // the upper half of a float; stored rounded to nearest, ties to even
  unsigned short bits;
  Bfloat16() = default;
  __device__ __forceinline__ explicit Bfloat16(float value) {
    unsigned all = __float_as_uint(value);
    bool is_nan = (all & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<unsigned short>(is_nan ? 0x7fc0u : (all + 0x7fffu + (all >> 16 & 1u)) >> 16);
  }
  __device__ __forceinline__ operator float() const { return __uint_as_float(unsigned(bits) << 16); }
};

#ifndef MC_REAL
#define MC_REAL float
#endif
#ifndef MC_TOKEN
#define MC_TOKEN MC_REAL
#endif
typedef MC_REAL Real;
typedef MC_TOKEN Token;

// How float products are formed on tensor cores: 0 by plain fused multiply-adds, 1 from TF32 inputs,
// 3 from three TF32 products of upper and lower halves, which is as exact as float.
#ifndef MC_PRODUCTS
#define MC_PRODUCTS 3
#endif

constexpr unsigned EVERY_LANE = 0xffffffffu;
constexpr float LOWEST = -3.0e38f;  // stands for minus infinity where a difference must stay finite

#ifdef MC_EMULATED
#define MC_SHARED emulation::block.shared.data()
#else
extern __shared__ __align__(16) char shared_bytes[];
#define MC_SHARED shared_bytes
#endif

// Hands out the block's shared memory piece by piece, 16-byte aligned; all threads ask alike.
struct Arena {
  char* base;
  int used;
  template <class T>
  __device__ __forceinline__ T* take(int count) {
    T* piece = reinterpret_cast<T*>(base + used);
    used += (count * int(sizeof(T)) + 15) & ~15;
#ifdef MC_EMULATED
    if (size_t(used) > emulation::block.shared.size() && emulation::block.error.empty())
      emulation::block.error = "shared memory: " + std::to_string(used) + " bytes taken, " +
                               std::to_string(emulation::block.shared.size()) + " given";
    if (!emulation::block.error.empty()) emulation::wait();
#endif
    return piece;
  }
};
#define MC_ARENA(name) Arena name{MC_SHARED, 0}

__device__ __forceinline__ Real sigmoid(Real x) { return Real(1) / (Real(1) + exp(-x)); }

// Rows of shared matrices lie this far apart, so that the lanes of a product hit different banks.
__host__ __device__ constexpr int padded(int columns) { return columns + 4; }
__host__ __device__ constexpr int up(int n, int to) { return (n + to - 1) / to * to; }
