// Gradients of one checkpoint from all the tokens that see it, a block of them after another.
//
//   dS = sum_t w_t q_t dy_t^T         d z = sum_t (-dw_t w_t) q_t      if answers are divided
//
// w_t is the gate, divided if answers are; dw_t = q_t . (S dy_t) the gradient of what it was.
#pragma once
#include "states.cuh"

constexpr int LEFT_ROW = KEYS + 8;  // suits a matrix that is the left factor, transposed
typedef Tile<KEYS, VALUES, THREADS> StateTile;

// Shared memory of `state_backward`.
struct StateRoom {
  int* sight;
  Real *q, *dy, *state, *vectors, *weights, *d_weights, *divisors, *d_vector;
};

__device__ __forceinline__ StateRoom state_room(Arena& arena, bool needs_answers) {
  int* sight = arena.take<int>(2 * ROWS);
  Real* q = arena.take<Real>(ROWS * LEFT_ROW);
  Real* dy = arena.take<Real>(ROWS * PRODUCT_ROW);
  Real* weights = arena.take<Real>(ROWS);
  Real* state = arena.take<Real>(needs_answers ? SLAB * VALUE_ROW : 0);
  Real* vectors = arena.take<Real>(needs_answers ? 2 * KEYS : 0);
  Real* d_weights = arena.take<Real>(needs_answers ? ROWS : 0);
  Real* divisors = arena.take<Real>(needs_answers ? ROWS : 0);
  return {sight, q, dy, state, vectors, weights, d_weights, divisors,
          arena.take<Real>(needs_answers ? KEYS : 0)};
}

// out[i] = <x_i, vector> of every token; x has rows `apart`. No barrier.
__device__ __forceinline__ void dot_rows(const Real* x, int apart, const Real* vector, Real* out,
                                         bool busy) {
  Tile<ROWS, 8, THREADS> dots;
  dots.clear();
  if (busy)
    dots.product([&](int i, int k) { return x[i * apart + k]; },
                 [&](int k, int j) { return j ? Real(0) : vector[k]; }, KEYS);
  dots.each([&](int i, int j, Real& x) { if (j == 0) out[i] = x; });
}

// sum[k] += sum over tokens of weight_i x_ik. No barrier.
__device__ __forceinline__ void add_rows(const Real* x, int apart, const Real* weight, Real* sum,
                                         int count) {
  for (int k = threadIdx.x; k < KEYS; k += THREADS) {
    Real total = sum[k];
    for (int i = 0; i < count; ++i) total += weight[i] * x[i * apart + k];
    sum[k] = total;
  }
}

// d_weights[i] = q_i . (S dy_i). Barriers inside; the state stays there if it is one slab.
__device__ __forceinline__ void weights_backward(Rows rows, Memories memories, int column, bool loaded,
                                                 StateRoom room) {
  Real upper = 0, lower = 0;
  for (int slab = 0; slab < SLABS; ++slab) {
    if (!loaded || SLABS > 1) {
      __syncthreads();
      memories.load_slab(room.state, VALUE_ROW, rows, column, slab);
      __syncthreads();
    }
    if (!rows.busy()) continue;
    Tile<ROWS, SLAB, THREADS> back;
    back.clear();
    back.product([&](int i, int v) { return room.dy[i * PRODUCT_ROW + v]; },
                 [&](int v, int k) { return room.state[k * VALUE_ROW + v]; }, VALUES);
    back.each([&](int i, int k, Real& x) {
      Real part = x * room.q[i * LEFT_ROW + slab * SLAB + k];
      if (i & 8) lower += part; else upper += part;
    });
  }
  upper = row_sum(upper);
  lower = row_sum(lower);
  if (leads_row()) {
    room.d_weights[upper_row()] = upper;
    room.d_weights[upper_row() + 8] = lower;
  }
}

// dS += sum over the block's tokens. No barrier.
__device__ __forceinline__ void add_outer(StateTile& d_state, StateRoom room, int count) {
  d_state.product([&](int k, int i) { return room.q[i * LEFT_ROW + k] * room.weights[i]; },
                  [&](int i, int v) { return room.dy[i * PRODUCT_ROW + v]; }, up(count, 8));
}

// Divides the weights of a block of tokens, given their divisors before eps. Between barriers.
__device__ __forceinline__ void divide_weights(StateRoom room) {
  for (int i = threadIdx.x; i < ROWS; i += THREADS) {
    room.divisors[i] += EPS;
    if (room.weights[i] != 0) room.weights[i] /= room.divisors[i];
  }
}

// Adds to a state's gradient.
__device__ __forceinline__ void store_state(StateTile& d_state, Real* out, Memories memories) {
  d_state.each([&](int k, int v, Real& x) {
    if (k < memories.keys && v < memories.values) out[k * memories.stride + v] += x;
  });
}
