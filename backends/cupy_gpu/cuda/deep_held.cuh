// A perceptron that stays in registers while tokens go by: a thread has a column of both matrices.
//
// What runs down the columns (w_in^T k, w_out r, the update) costs no memory at all; what runs along
// the rows (w_out^T z) is folded from lane to lane. For rules without an image, MC_KEYS of 16, 32 or
// 64, and at most one column for each thread. A momentum stays where it is.
#pragma once
#include "deep_token.cuh"

constexpr int ROOM = KEYS ? KEYS : 2, HALF_ROOM = ROOM / 2;

// The same number, of which the compiler does not know that it is: what is computed from it is not
// kept from one token to the next, in registers that the perceptron needs.
__device__ __forceinline__ int forgotten(int number) {
#ifndef MC_EMULATED
  asm volatile("" : "+r"(number));
#endif
  return number;
}

struct Held {
  Real w_in[ROOM], w_out[ROOM];
};

// Sums p[i] over the lanes of a warp: BITS halves are exchanged, and each lane goes on with its half.
template <int WIDTH, int BITS>
__device__ __forceinline__ void fold(Real (&p)[HALF_ROOM], int lane) {
  if constexpr (BITS > 0) {
    constexpr int HALF = WIDTH / 2;
    bool upper = lane & BITS;
    if constexpr (HALF > 0) {
#pragma unroll
      for (int i = 0; i < HALF; ++i) {
        Real mine = upper ? p[i + HALF] : p[i], theirs = upper ? p[i] : p[i + HALF];
        p[i] = mine + __shfl_xor_sync(EVERY_LANE, theirs, BITS);
      }
      fold<HALF, BITS / 2>(p, lane);
    } else {
      p[0] += __shfl_xor_sync(EVERY_LANE, p[0], BITS);
      fold<1, BITS / 2>(p, lane);
    }
  }
}

// parts[warp][i] = the sum over the warp's lanes of w[i] factor. No barrier.
__device__ __forceinline__ void fold_rows(const Real (&w)[ROOM], Real factor, Real* parts) {
  Real p[HALF_ROOM];
  int lane = threadIdx.x & 31, first = 0, width = KEYS;
  bool upper = lane & 16;
#pragma unroll
  for (int i = 0; i < HALF_ROOM; ++i) {
    Real mine = upper ? w[i + HALF_ROOM] : w[i], theirs = upper ? w[i] : w[i + HALF_ROOM];
    p[i] = mine * factor + __shfl_xor_sync(EVERY_LANE, theirs * factor, 16);
  }
  fold<HALF_ROOM, 8>(p, lane);
  for (int bits = 16; bits && width > 1; bits >>= 1) {
    width /= 2;
    if (lane & bits) first += width;
  }
  Real* to = parts + (threadIdx.x >> 5) * KEYS + first;
#pragma unroll
  for (int i = 0; i < (KEYS + 31) / 32; ++i) to[i] = p[i];
}

// The sum over warps of what `fold_rows` left of a row.
__device__ __forceinline__ Real folded(const Real* parts, int row) {
  Real total = Real(0);
  for (int warp = 0; warp < int(blockDim.x) / 32; ++warp) total += parts[warp * KEYS + row];
  return total;
}

__device__ __forceinline__ Real dot(const Real (&w)[ROOM], const Real* x) {
  Real total = Real(0);
#pragma unroll
  for (int i = 0; i < KEYS; ++i) total += w[i] * x[i];
  return total;
}

__device__ __forceinline__ void take_in(const Call& c, const Real* weights, Held& held) {
  int e = threadIdx.x, width = forgotten(c.width), half = c.keys * width;
#pragma unroll
  for (int i = 0; i < KEYS; ++i) {
    bool real = i < c.keys && e < width;
    held.w_in[i] = real ? weights[i * width + e] : Real(0);
    held.w_out[i] = real ? weights[half + i * width + e] : Real(0);
  }
}

__device__ __forceinline__ void put_out(const Call& c, const Held& held, Real* weights) {
  int e = threadIdx.x, width = forgotten(c.width), half = c.keys * width;
#pragma unroll
  for (int i = 0; i < KEYS; ++i)
    if (i < c.keys && e < width) {
      weights[i * width + e] = held.w_in[i];
      weights[half + i * width + e] = held.w_out[i];
    }
}

// One matrix after a token: `rows` is k or r, `strength` the step times d or z.
__device__ __forceinline__ void descend_held(const Call& c, long long at, Real (&w)[ROOM],
                                             const Real* rows, Real strength, const Real* before,
                                             Real* after) {
  Real decay = exp(c.log_decay[at]), keeps = c.momentum ? c.momentum[at] : Real(0);
  int e = threadIdx.x, width = forgotten(c.width);
#pragma unroll
  for (int i = 0; i < KEYS; ++i) {
    Real moved = -strength * rows[i];
    if (c.momentum && i < c.keys && e < width) {
      moved += keeps * before[i * width + e];
      after[i * width + e] = moved;
    }
    w[i] = decay * w[i] + moved;
  }
}

// The perceptron after a token whose vectors are loaded, padded by zeros; its momentum (2 K, E), if
// any, goes from `before` to `after`. `parts` is (WARPS, KEYS).
__device__ __forceinline__ void write_held(const Call& c, long long at, Held& held,
                                           const Real* before, Real* after, const Vectors& x,
                                           Real* parts) {
  Gelu z = gelu(dot(held.w_in, x.k));
  if (c.loss != DOT) {
    fold_rows(held.w_out, z.value, parts);
    __syncthreads();
  }
  if (threadIdx.x < 32) {
    for (int i = threadIdx.x; i < KEYS && c.loss != DOT; i += 32) x.said[i] = folded(parts, i);
    find_force(c.loss, c.delta ? c.delta[at] : Real(0), KEYS, x.k, x.v, x.said, x.error, x.force);
  }
  __syncthreads();
  Real turn = dot(held.w_out, x.force) * z.slope, step = c.step[at];
  int half = c.keys * c.width;
  descend_held(c, at, held.w_in, x.k, step * turn, before, after);
  descend_held(c, at, held.w_out, x.force, step * z.value, before + half, after + half);
}

// The answer to a token's query, as `ask_token`.
__device__ __forceinline__ void ask_held(const Call& c, long long at, const Held& held,
                                         const Vectors& x, Real* parts, Token* reads, Real* hidden) {
  Real gate = c.gate ? c.gate[at] : Real(1);
  int e = threadIdx.x;
  Real before = gate * dot(held.w_in, x.q);
  if (c.extra && e < c.width) before += c.extra[at * c.width + e];
  Real value = gelu_value(before);
  if (hidden && e < c.width) hidden[at * c.width + e] = value;
  fold_rows(held.w_out, value, parts);
  __syncthreads();
  for (int i = threadIdx.x; i < c.keys; i += blockDim.x)
    reads[at * c.keys + i] = Token(Real(c.q[at * c.keys + i]) + gate * folded(parts, i));
}
