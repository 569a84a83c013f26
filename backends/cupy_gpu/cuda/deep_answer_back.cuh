// One token of a deep memory, backward: through its answer and the image of what descends.
#pragma once
#include "deep_token.cuh"

// Vectors of a token backward, besides those of forward: of length K, of length E.
struct Turned {
  Real *dy, *along_k, *along_r, *d_answer;
  Real *curve, *pulled, *d_turn, *d_value, *work;
};

// What all threads add to, and what is summed over them when a token is done.
struct Sums {
  Real gate, step, log_decay, momentum;
};

__device__ __forceinline__ Turned take_turned(Arena& arena, int keys, int width) {
  Turned y;
  y.dy = arena.take<Real>(keys);
  y.along_k = arena.take<Real>(keys);
  y.along_r = arena.take<Real>(keys);
  y.d_answer = arena.take<Real>(keys);
  y.curve = arena.take<Real>(width);
  y.pulled = arena.take<Real>(width);
  y.d_turn = arena.take<Real>(width);
  y.d_value = arena.take<Real>(width);
  y.work = arena.take<Real>(width);
  return y;
}

// dW += left right^T, for this thread's column e of one matrix.
__device__ __forceinline__ void add_outer(const Call& c, Real* d, const Real* left, Real right,
                                          int e) {
  down_column(
      c.keys, c.width, e, [&](int p) { return d[p]; },
      [&](int i, int p, Real old) { d[p] = old + left[i] * right; });
}

// From dy: dq, the gate's and extra's gradients; adds to dW. Ends with a barrier.
__device__ __forceinline__ void answer_backward(const Call& c, const Gradients& g, long long at,
                                                const Real* weights, Real* d_weights,
                                                const Vectors& x, const Turned& y, Sums& sums) {
  Real gate = c.gate ? c.gate[at] : Real(1);
  int half = c.keys * c.width;
  each_column(c.width, [&](int e) {
    Real before = gate * column_dot(weights, c.keys, c.width, e, x.q);
    if (c.extra) before += c.extra[at * c.width + e];
    Gelu z = gelu(before);
    Real back = column_dot(weights + half, c.keys, c.width, e, y.dy);
    sums.gate += back * z.value;
    Real d = gate * back;
    if (g.hidden) d += g.hidden[at * c.width + e];
    d *= z.slope;
    if (g.extra) g.extra[at * c.width + e] = d;
    y.work[e] = d;
    add_outer(c, d_weights, x.q, gate * d, e);
    add_outer(c, d_weights + half, y.dy, gate * z.value, e);
  });
  __syncthreads();
  each_row_dot(weights, c.keys, c.width, y.work, [&](int i, Real back) {
    g.q[at * c.keys + i] = Token(y.dy[i] + gate * back);
    sums.gate += back * x.q[i];
  });
  __syncthreads();
}

// dA, once the gradient of what is made of it is in dW. Ends with a barrier.
__device__ __forceinline__ void image_backward(const Call& c, int image, State after, State d,
                                               const Vectors& x) {
  int half = c.keys * c.width;
  if (image == QUARTIC) {
    quartic_backward(after.second, d.weights, d.second, half, x.scratch);
  } else if (image == SOFTMAX) {
    softmax_backward(after.weights, d.weights, d.second, c.keys, c.width);
  } else if (c.momentum) {
    for (int at = threadIdx.x; at < 2 * half; at += blockDim.x) d.second[at] += d.weights[at];
  }
  __syncthreads();
}
