// CUDA on the CPU: what our sources use of the language, for g++. Blocks run one after another, the
// threads of a block as fibers. Not modelled: concurrency between blocks, the memory model, timing.
#pragma once
#include <cmath>
#include <type_traits>
#include <utility>

#include "copies.h"
#include "warp_product.h"

#define MC_EMULATED 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __constant__ static const
#define __syncthreads() emulation::sync_block(__LINE__)
#define __syncwarp(...) emulation::sync_warp(~0u)
#define threadIdx (emulation::block.thread[emulation::block.current])
#define blockIdx (emulation::block.index)
#define blockDim (emulation::block.size)
#define gridDim (emulation::block.grid)

using std::abs;
using std::erf;
using std::exp;
using std::fma;
using std::isfinite;
using std::log;
using std::log1p;
using std::max;
using std::min;
using std::sqrt;
using std::tanh;

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  int lane = emulation::block.current & 31;
  return emulation::exchange(mask, value, (lane & ~(width - 1)) | (source & (width - 1)));
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return emulation::exchange(mask, value, int(emulation::block.current & 31) ^ bits);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, int by, int width = 32) {
  int lane = emulation::block.current & 31, source = lane + by;
  bool inside = (source & ~(width - 1)) == (lane & ~(width - 1));
  return emulation::exchange(mask, value, inside ? source : lane);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, int by, int width = 32) {
  int lane = emulation::block.current & 31, source = lane - by;
  return emulation::exchange(mask, value, source >= (lane & ~(width - 1)) ? source : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  unsigned found = 0;
  for (int lane = 0; lane < 32; ++lane)
    found |= unsigned(emulation::exchange<int>(mask, predicate != 0, lane) != 0) << lane;
  return found & mask;
}
template <class T>
inline T atomicAdd(T* at, T value) {
  T before = *at;
  *at = before + value;
  return before;
}
template <class T>
inline T __ldg(const T* at) {
  return *at;
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline float __int_as_float(int bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline int __float_as_int(float value) {
  int bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline unsigned __float_as_uint(float value) { return unsigned(__float_as_int(value)); }
inline float __uint_as_float(unsigned bits) { return __int_as_float(int(bits)); }

namespace emulation {

// Calls a kernel with arguments that lie where `void* arguments[]` points, as a CUDA launch does.
template <auto kernel>
struct Thunk;
template <class... A, void (*kernel)(A...)>
struct Thunk<kernel> {
  template <size_t... I>
  static void unpack(void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<A>*>(arguments[I])...);
  }
  static void call(void** arguments) { unpack(arguments, std::index_sequence_for<A...>{}); }
  static constexpr int count = sizeof...(A);
  static void sizes(int* out) { int i = 0; ((out[i++] = int(sizeof(A))), ...); (void)i; (void)out; }
};

}  // namespace emulation

#define MC_EXPORT(name)                                                                        \
  extern "C" __attribute__((visibility("default"))) const char* mc_launch_##name(              \
      const unsigned* shape, size_t shared, void** arguments, unsigned seed) {                 \
    using namespace emulation;                                                                 \
    block.kernel = &Thunk<&name>::call;                                                        \
    block.arguments = arguments;                                                               \
    launch(dim3(shape[0], shape[1], shape[2]), dim3(shape[3], shape[4], shape[5]), shared, seed); \
    return block.error.c_str();                                                                \
  }                                                                                            \
  extern "C" __attribute__((visibility("default"))) int mc_arguments_##name(int* sizes) {      \
    emulation::Thunk<&name>::sizes(sizes);                                                     \
    return emulation::Thunk<&name>::count;                                                     \
  }
