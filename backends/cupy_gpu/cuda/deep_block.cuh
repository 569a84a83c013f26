// A block of tokens of one chunk, whose gradients are all taken at one memory, the anchor.
//
//   H = K w_in    A = gelu(H)    R of `deep_error.cuh`    down = (R w_out^T) . gelu'(H)
//   S_t = m_t S_{t-1} - step_t G_t    M_t = a_t M_{t-1} + S_t    G_t = k_t^T down_t, r_t^T a_t
//
// is linear in what comes in and in the G_j:  M_t = since_t M + lifted_t S - sum_j pairs_tj G_j, with
// numbers that are the same for matrices of any size. What is made of hidden units is made a slice
// of them at a time; matrices w_out lie transposed, (K, E).
#pragma once
#include "deep_span.cuh"

// A block in shared memory.
struct Block {
  Real *k, *v, *r;                  // (ROWS, KEYS); errors replace v
  Real *w_in, *w_out, *s_in, *s_out;  // (KEYS, SLICE) of the anchor or the memory, of its momentum
  Real *value, *down, *query;       // (ROWS, SLICE): A, down, and A of the queries
  Real *pairs, *asked;              // (ROWS, ROWS)
  Real *step, *decay, *momentum, *delta, *gate;       // (ROWS)
  Real *since, *lifted, *until, *pushed, *kept;       // (ROWS), kept (1)
};

__device__ __forceinline__ Block take_block(Arena& arena, bool moves) {
  Block x{};
  x.k = arena.take<Real>(ROWS * BY_KEY);
  x.v = arena.take<Real>(ROWS * BY_KEY);
  x.r = arena.take<Real>(ROWS * BY_KEY);
  x.pairs = arena.take<Real>(ROWS * BY_ROW);
  x.asked = arena.take<Real>(ROWS * BY_ROW);
  x.step = arena.take<Real>(ROWS);
  x.decay = arena.take<Real>(ROWS);
  x.momentum = arena.take<Real>(ROWS);
  x.delta = arena.take<Real>(ROWS);
  x.gate = arena.take<Real>(ROWS);
  x.since = arena.take<Real>(ROWS);
  x.lifted = arena.take<Real>(ROWS);
  x.until = arena.take<Real>(ROWS);
  x.pushed = arena.take<Real>(ROWS);
  x.kept = arena.take<Real>(4);
  x.w_in = arena.take<Real>(KEYS * BY_UNIT);
  x.w_out = arena.take<Real>(KEYS * BY_UNIT);
  x.s_in = moves ? arena.take<Real>(KEYS * BY_UNIT) : nullptr;
  x.s_out = moves ? arena.take<Real>(KEYS * BY_UNIT) : nullptr;
  x.value = arena.take<Real>(ROWS * BY_UNIT);
  x.down = arena.take<Real>(ROWS * BY_UNIT);
  x.query = arena.take<Real>(ROWS * BY_UNIT);
  return x;
}

__device__ __forceinline__ void load_layers(const Call& c, const Real* state, int slice,
                                            const Block& x) {
  load<KEYS, SLICE>(x.w_in, BY_UNIT, slice_of(c, state, 0, slice));
  load<KEYS, SLICE>(x.w_out, BY_UNIT, slice_of(c, state, 1, slice));
}

// What each token's memory is made of; a thread runs along the tokens for one of its columns.
__device__ __forceinline__ void set_coefficients(int count, const Block& x) {
  for (int j = threadIdx.x; j < ROWS + 2; j += THREADS) {
    Real weight = Real(j == ROWS), moved = Real(j == ROWS + 1);
    Real step = j < ROWS ? x.step[j] : Real(1);
    for (int t = 0; t < ROWS; ++t) {
      bool real = t < count;
      if (real) {
        moved = x.momentum[t] * moved + Real(t == j);
        weight = x.decay[t] * weight + moved;
      }
      Real* to = j < ROWS ? x.pairs + t * BY_ROW + j : j == ROWS ? x.since + t : x.lifted + t;
      *to = real ? weight * step : Real(0);
    }
    if (j < ROWS) {
      x.until[j] = weight * step;
      x.pushed[j] = moved * step;
    } else if (j == ROWS + 1) {
      *x.kept = moved;
    }
  }
}

// k, v and the numbers of the block's tokens; coefficients. Begins and ends with a barrier.
__device__ __forceinline__ void load_block(const Call& c, Span p, const Block& x) {
  __syncthreads();
  load<ROWS, KEYS>(x.k, BY_KEY, rows_of(c, p, c.k, c.keys));
  load<ROWS, KEYS>(x.v, BY_KEY, rows_of(c, p, c.v, c.keys));
  for (int i = threadIdx.x; i < ROWS; i += THREADS) {
    bool real = i < p.count;
    long long at = c.token(p.b, p.begin + i, p.h);
    x.step[i] = real ? c.step[at] : Real(0);
    x.decay[i] = real ? exp(c.log_decay[at]) : Real(0);
    x.momentum[i] = real && c.momentum ? c.momentum[at] : Real(0);
    x.delta[i] = real && c.delta ? c.delta[at] : Real(0);
    x.gate[i] = !real ? Real(0) : c.gate ? c.gate[at] : Real(1);
  }
  __syncthreads();
  set_coefficients(p.count, x);
  __syncthreads();
}
