// Gradients of each token's step, log-decay and momentum from those of a block's coefficients.
#pragma once
#include "deep_block.cuh"

// Gradients of `Block`'s coefficients; pairs (ROWS, ROWS), the others (ROWS); kept (1).
struct Coefficients {
  Real *pairs, *since, *lifted, *until, *pushed, *kept;
};


// Runs column j backwards from the last of `count` tokens. weights and momenta (ROWS, ROWS + 2) hold
// its course, and then what it adds to the gradients of each token's decay and momentum.
__device__ __forceinline__ Real column_backward(int count, int j, const Block& x,
                                                const Coefficients& d, Real* weights,
                                                Real* momenta) {
  bool is_token = j < ROWS;
  Real step = is_token ? x.step[j] : Real(0), row = Real(0), d_step = Real(0);
  Real moved = is_token ? d.pushed[j] * step : j == ROWS ? Real(0) : *d.kept;
  if (is_token) d_step = d.pushed[j] * momenta[(count - 1) * BY_ROW + j];
  for (int t = count - 1; t >= 0; --t) {
    int at = t * BY_ROW + j, before = at - BY_ROW;
    if (is_token) {
      Real pair = d.pairs[at] + (t == count - 1 ? d.until[j] : Real(0));
      d_step += pair * weights[at];
      row += pair * step;
    } else {
      row += j == ROWS ? d.since[t] : d.lifted[t];
    }
    moved += row;
    weights[at] = row * (t ? weights[before] : Real(j == ROWS));
    momenta[at] = moved * (t ? momenta[before] : Real(j == ROWS + 1));
    row *= x.decay[t];
    moved *= x.momentum[t];
  }
  return d_step;
}

// The course of column j of the coefficients, without steps.
__device__ __forceinline__ void column_forward(int count, int j, const Block& x, Real* weights,
                                               Real* momenta) {
  Real weight = Real(j == ROWS), moved = Real(j == ROWS + 1);
  for (int t = 0; t < count; ++t) {
    moved = x.momentum[t] * moved + Real(t == j);
    weight = x.decay[t] * weight + moved;
    weights[t * BY_ROW + j] = weight;
    momenta[t * BY_ROW + j] = moved;
  }
}

// Sets d_step, d_log_decay and, unless null, d_momentum (B, T, H) of the block's tokens. `room` is
// 2 ROWS (ROWS + 4) numbers that nothing else needs. Begins with a barrier.
__device__ __forceinline__ void coefficients_backward(const Call& c, Span p, const Block& x,
                                                      const Coefficients& d, Real* room,
                                                      Real* d_step, Real* d_log_decay,
                                                      Real* d_momentum) {
  Real *weights = room, *momenta = room + ROWS * BY_ROW;
  __syncthreads();
  for (int j = threadIdx.x; j < ROWS + 2; j += THREADS) {
    column_forward(p.count, j, x, weights, momenta);
    Real found = column_backward(p.count, j, x, d, weights, momenta);
    if (j < p.count) d_step[c.token(p.b, p.begin + j, p.h)] = found;
  }
  __syncthreads();
  int lane = threadIdx.x & 31;
  for (int t = threadIdx.x >> 5; t < p.count; t += THREADS / 32) {
    Real decay = Real(0), moved = Real(0);
    for (int j = lane; j < ROWS + 2; j += 32) {
      decay += weights[t * BY_ROW + j];
      moved += momenta[t * BY_ROW + j];
    }
    decay = warp_sum(decay);
    moved = warp_sum(moved);
    if (lane) continue;
    d_log_decay[c.token(p.b, p.begin + t, p.h)] = x.decay[t] * decay;
    if (d_momentum) d_momentum[c.token(p.b, p.begin + t, p.h)] = moved;
  }
}
