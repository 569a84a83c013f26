// A block of tokens backwards, between the two passes over slices: what is summed over hidden units.
#pragma once
#include "deep_block_back.cuh"
#include "deep_coefficients.cuh"

// Between the passes, of pairs: their gradient in x.pairs; with the totals in place of the pairs'
// products, g pairs d_hidden down^T in x.asked and g pairs A_q A^T in y.replied. Ends with a barrier.
__device__ __forceinline__ void pairs_backward(const Block& x, const Turned& y, Totals& totals) {
  Pairs asked, replied;
  pair_keys(y.q, x.k, asked);
  pair_keys(y.dy, x.r, replied);
  each_place<Pairs>([&](int i, int j, int own, int part) {
    int at = i * BY_ROW + j;
    Real pair = x.pairs[at], gated = x.gate[i] * pair;
    Real d = -asked.x[own][part] * totals.asked.x[own][part] -
             replied.x[own][part] * totals.replies.x[own][part];
    if (j > i) d = Real(0);
    x.asked[at] = gated * totals.asked.x[own][part];
    y.replied[at] = gated * totals.replies.x[own][part];
    x.pairs[at] = x.gate[i] * d;
    asked.x[own][part] = pair * d;
  });
  add_row_sums<Pairs>(y.sums + 4 * EACH,
                      [&](int, int, int own, int part) { return asked.x[own][part]; });
  add_row_sums<Answers>(y.sums, [&](int i, int j, int own, int part) {
    return y.q[i * BY_KEY + j] * totals.in.x[own][part];
  });
  add_row_sums<Answers>(y.sums + EACH, [&](int i, int j, int own, int part) {
    return y.q[i * BY_KEY + j] * totals.in_moved.x[own][part];
  });
  __syncthreads();
}

// dq; adds what pairs give to the gradients of k and r.
__device__ __forceinline__ void rows_backward(const Call& c, Span p, const Block& x,
                                              const Turned& y, Token* dq, Totals& totals) {
  each_place<Answers>([&](int i, int j, int own, int part) {
    totals.in.x[own][part] = y.dy[i * BY_KEY + j] + y.since[i] * totals.in.x[own][part] +
                             y.lifted[i] * totals.in_moved.x[own][part];
  });
  add_product(totals.in, minus(of(x.asked, BY_ROW)), of(x.k, BY_KEY), ROWS);
  add_product(totals.k, minus(turned(x.asked, BY_ROW)), of(y.q, BY_KEY), ROWS);
  add_product(totals.r, minus(turned(y.replied, BY_ROW)), of(y.dy, BY_KEY), ROWS);
  Matrix<Token> out = rows_of(c, p, dq, c.keys);
  totals.in.each([&](int i, int j, Real value) { out.put(i, j, value); });
}

// Gradients of the other coefficients, and of the gate. Ends with a barrier.
__device__ __forceinline__ void numbers_backward(const Call& c, Span p, const Block& x,
                                                 const Turned& y, Real* d_gate,
                                                 const Coefficients& d, const Totals& totals) {
  Real since = block_sum(totals.decayed[0], y.scratch);
  Real lifted = block_sum(totals.decayed[1], y.scratch);
  Real kept = block_sum(totals.decayed[2], y.scratch);
  for (int i = threadIdx.x; i < ROWS; i += THREADS) {
    bool last = i == p.count - 1;
    Real of_since = row_sum<Hidden>(y.sums, i), of_lifted = row_sum<Hidden>(y.sums + EACH, i);
    Real gate = row_sum<Hidden>(y.sums + 4 * EACH, i) + x.since[i] * of_since +
                x.lifted[i] * of_lifted;
    d.since[i] = x.gate[i] * of_since + (last ? since : Real(0));
    d.lifted[i] = x.gate[i] * of_lifted + (last ? lifted : Real(0));
    d.until[i] = row_sum<Hidden>(y.sums + 2 * EACH, i);
    d.pushed[i] = row_sum<Hidden>(y.sums + 3 * EACH, i);
    if (last) *d.kept = kept;
    if (d_gate && i < p.count) d_gate[c.token(p.b, p.begin + i, p.h)] = gate;
  }
  __syncthreads();
}

// From the gradient of R to that of M(k), in y.dy; dv and the gradient of delta.
__device__ __forceinline__ void errors_backward(const Call& c, Span p, const Block& x,
                                                const Turned& y, const Gradients& g,
                                                Totals& totals) {
  totals.r.each([&](int i, int j, Real value) { y.dy[i * BY_KEY + j] = value; });
  __syncthreads();
  for (int i = threadIdx.x >> 5; i < p.count; i += THREADS / 32) {
    int row = i * BY_KEY;
    Real d_delta =
        error_backward(c.loss, x.delta[i], c.keys, x.v + row, y.dy + row, y.q + row);
    if (g.delta && (threadIdx.x & 31) == 0) g.delta[c.token(p.b, p.begin + i, p.h)] = d_delta;
  }
  __syncthreads();
  store<ROWS, KEYS>(rows_of(c, p, g.v, c.keys), y.q, BY_KEY);
  each_place<Answers>([&](int i, int j, int own, int part) {
    totals.k.x[own][part] += y.dy[i * BY_KEY + j];
  });
}
