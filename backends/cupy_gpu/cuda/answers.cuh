// Answers of all the checkpoints that a block of tokens sees, weighted and summed; and back.
//
//   y_t = sum_i w_ti S_i^T q_t        dw_ti = q_t . (S_i dy_t)       dq_t = sum_i w_ti S_i dy_t
//
// Each state comes from global memory once per block. Who calls says how gates are made.
#pragma once
#include "states.cuh"

typedef Tile<ROWS, VALUES, THREADS> Answers;
typedef Tile<ROWS, SLAB, THREADS> Queries;  // of a slab of key channels

// Shared memory of `add_answers`; all threads ask alike.
struct AnswerRoom {
  Real *weights, *state;
  Division division;
};

__device__ __forceinline__ AnswerRoom answer_room(Arena& arena, bool divided) {
  Real* weights = arena.take<Real>(ROWS * PAIR_ROW);
  Real* state = arena.take<Real>(SLAB * PRODUCT_ROW);
  Real* vectors = arena.take<Real>(divided ? COLUMNS * KEY_ROW : 0);
  return {weights, state, {vectors, arena.take<Real>(divided ? ROWS * PAIR_ROW : 0)}};
}

// y += the answers; q (ROWS, K) in shared memory; `weigh(column, n, weights)` makes gates.
template <class Weigh>
__device__ __forceinline__ void add_answers(Rows rows, Sight seen, Memories memories, const Real* q,
                                            Weigh weigh, AnswerRoom room, Answers& y) {
  for (int column = seen.low; column < seen.high; column += COLUMNS) {
    int n = min(COLUMNS, seen.high - column);
    __syncthreads();
    weigh(column, n, room.weights);
    if (memories.divided)
      room.division.divide(memories, rows, seen, column, n, q, room.weights);
    for (int c = 0; c < n; ++c)
      for (int slab = 0; slab < SLABS; ++slab) {
        __syncthreads();
        memories.load_slab(room.state, PRODUCT_ROW, rows, column + c, slab);
        __syncthreads();
        const Real *left = q + slab * SLAB, *weight = room.weights + c, *right = room.state;
        if (rows.busy())
          y.product([&](int i, int k) { return left[i * KEY_ROW + k] * weight[i * PAIR_ROW]; },
                    [&](int k, int v) { return right[k * PRODUCT_ROW + v]; }, SLAB);
      }
  }
}

// Shared memory of `answers_backward`.
struct BackwardRoom {
  Real *weights, *d_weights, *state;
  Division division;
};

__device__ __forceinline__ BackwardRoom backward_room(Arena& arena, bool divided) {
  Real* weights = arena.take<Real>(ROWS * PAIR_ROW);
  Real* d_weights = arena.take<Real>(ROWS * PAIR_ROW);
  Real* state = arena.take<Real>(SLAB * VALUE_ROW);
  Real* vectors = arena.take<Real>(divided ? COLUMNS * KEY_ROW : 0);
  return {weights, d_weights, state, {vectors, arena.take<Real>(divided ? ROWS * PAIR_ROW : 0)}};
}

// Through the answer of one checkpoint, whose weights are at `weight`: adds to dq, fills d_weight.
__device__ __forceinline__ void answer_backward(Rows rows, Memories memories, int column,
                                                const Real* q, const Real* dy, const Real* weight,
                                                Real* d_weight, Real* state, Queries (&dq)[SLABS]) {
  int i = upper_row();
  Real upper = 0, lower = 0, up_weight = weight[i * PAIR_ROW], low_weight = weight[(i + 8) * PAIR_ROW];
#pragma unroll
  for (int slab = 0; slab < SLABS; ++slab) {
    __syncthreads();
    memories.load_slab(state, VALUE_ROW, rows, column, slab);
    __syncthreads();
    if (!rows.busy()) continue;
    Queries back;
    back.clear();
    back.product([&](int i, int v) { return dy[i * VALUE_ROW + v]; },
                 [&](int v, int k) { return state[k * VALUE_ROW + v]; }, VALUES);
    back.each([&](int i, int k, Real& x) {
      Real part = x * q[i * KEY_ROW + slab * SLAB + k];
      if (i & 8) lower += part; else upper += part;
    });
#pragma unroll
    for (int own = 0; own < Queries::OWN; ++own)
      for (int e = 0; e < 4; ++e)
        dq[slab].x[own][e] += (e < 2 ? up_weight : low_weight) * back.x[own][e];
  }
  upper = row_sum(upper);
  lower = row_sum(lower);
  if (leads_row()) {
    d_weight[i * PAIR_ROW] = upper;
    d_weight[(i + 8) * PAIR_ROW] = lower;
  }
}

// Gates, their gradients and those of the divisors in place of divided gates, theirs, and divisors.
__device__ __forceinline__ void division_backward(BackwardRoom room) {
  for (int at = threadIdx.x; at < ROWS * COLUMNS; at += THREADS) {
    int place = at / COLUMNS * PAIR_ROW + at % COLUMNS;
    Real divided = room.weights[place], divisor = room.division.divisors[place];
    Real d_gate = room.d_weights[place] / divisor;
    room.weights[place] = divided * divisor;
    room.d_weights[place] = d_gate;
    room.division.divisors[place] = -d_gate * divided;
  }
}

// Adds to dq; hands the gates of each tile of columns and their gradients to
// `use(column, n, weights, d_weights)`, between barriers. q, dy (ROWS, .) in shared memory.
template <class Weigh, class Use>
__device__ __forceinline__ void answers_backward(Rows rows, Sight seen, Memories memories,
                                                 const Real* q, const Real* dy, Weigh weigh, Use use,
                                                 BackwardRoom room, Queries (&dq)[SLABS]) {
  for (int column = seen.low; column < seen.high; column += COLUMNS) {
    int n = min(COLUMNS, seen.high - column);
    __syncthreads();
    for (int at = threadIdx.x; at < ROWS * PAIR_ROW; at += THREADS) room.d_weights[at] = 0;
    weigh(column, n, room.weights);
    if (memories.divided) room.division.divide(memories, rows, seen, column, n, q, room.weights);
    __syncthreads();
    for (int c = 0; c < n; ++c)
      answer_backward(rows, memories, column + c, q, dy, room.weights + c, room.d_weights + c,
                      room.state, dq);
    __syncthreads();
    if (memories.divided) {
      division_backward(room);
      __syncthreads();
      const Real *d_divisors = room.division.divisors, *vectors = room.division.vectors;
#pragma unroll
      for (int slab = 0; slab < SLABS; ++slab)
        if (rows.busy())
          dq[slab].product([&](int i, int c) { return d_divisors[i * PAIR_ROW + c]; },
                           [&](int c, int k) { return vectors[c * KEY_ROW + slab * SLAB + k]; },
                           COLUMNS);
    }
    use(column, n, room.weights, room.d_weights);
  }
}

// Key channels of all slabs into (B, T, H, K).
__device__ __forceinline__ void store_queries(Rows rows, Queries (&dq)[SLABS], Token* out, int width) {
#pragma unroll
  for (int slab = 0; slab < SLABS; ++slab)
    dq[slab].each([&](int i, int k, Real& x) {
      k += slab * SLAB;
      if (i < rows.count && k < width) out[rows.scalar(i) * width + k] = Token(x);
    });
}
