// One token of a deep memory, backward, in three parts: its answer, its move, its descent.
//
// With dA the gradient of what descends (W, S of titans, or what W is the image of):
//
//   answer    dh = gelu'(h) (g w_out dy + d_hidden)     dq = dy + g w_in dh
//             dw_in += g q dh^T     dw_out += g dy z^T
//   move      dstep = -<dA, G>    dlog_decay = a <dA, A>    dG = -step dA    dA <- a dA
//   descent   back through G at the W before, second order in gelu'' alone
#pragma once
#include "deep_answer_back.cuh"

// `d` of one matrix and its A from after the token to before it, for this thread's column e.
__device__ __forceinline__ void decay_backward(const Call& c, long long at, int image, State before,
                                               State d, int e, Sums& sums) {
  Real decay = exp(c.log_decay[at]), keeps = c.momentum ? c.momentum[at] : Real(0);
  for (int i = 0, p = e; i < c.keys; ++i, p += c.width) {
    if (image != SAME) {
      Real after = decay * d.second[p];
      sums.log_decay += after * before.second[p];
      d.second[p] = after;
      d.weights[p] = Real(0);
    } else {
      Real after = decay * d.weights[p];
      sums.log_decay += after * before.weights[p];
      d.weights[p] = after;
      if (c.momentum) {
        sums.momentum += d.second[p] * before.second[p];
        d.second[p] *= keeps;
      }
    }
  }
}

// The products of dA with the vectors that G is made of; then dA and dW go to before the token.
__device__ __forceinline__ void move_backward(const Call& c, long long at, int image, State before,
                                              State d, const Vectors& x, const Turned& y,
                                              Sums& sums) {
  int half = c.keys * c.width;
  const Real* moved = image != SAME || c.momentum ? d.second : d.weights;
  each_row_dot(moved, c.keys, c.width, y.work, [&](int i, Real dot) { y.along_k[i] = dot; });
  each_row_dot(moved + half, c.keys, c.width, x.value, [&](int i, Real dot) { y.along_r[i] = dot; });
  __syncthreads();
  each_column(c.width, [&](int e) {
    Real along = column_dot(moved, c.keys, c.width, e, x.k);
    Real across = column_dot(moved + half, c.keys, c.width, e, x.force);
    sums.step -= along * y.work[e] + across * x.value[e];
    y.d_turn[e] = -c.step[at] * along;
    y.d_value[e] = -c.step[at] * across;
    decay_backward(c, at, image, before, d, e, sums);
    decay_backward(c, at, image, before.from(half), d.from(half), e, sums);
    y.work[e] = y.d_turn[e] * x.slope[e];
  });
  __syncthreads();
}

// From dG to dW, dk, dv and the gradient of delta. y.work holds the gradient of w_out r.
__device__ __forceinline__ void descent_backward(const Call& c, const Gradients& g, long long at,
                                                 const Real* weights, Real* d_weights,
                                                 const Vectors& x, const Turned& y) {
  Real step = c.step[at];
  int half = c.keys * c.width;
  each_row_dot(weights + half, c.keys, c.width, y.work,
               [&](int i, Real back) { y.d_answer[i] = back - step * y.along_r[i]; });
  __syncthreads();
  if (threadIdx.x < 32) {
    Real d_delta = error_backward(c.loss, c.delta ? c.delta[at] : Real(0), c.keys, x.error,
                                  y.d_answer, x.said);
    if (g.delta && threadIdx.x == 0) g.delta[at] = d_delta;
  }
  __syncthreads();
  each_column(c.width, [&](int e) {
    Real d_value = y.d_value[e] + column_dot(weights + half, c.keys, c.width, e, y.d_answer);
    Real d = y.d_turn[e] * y.pulled[e] * y.curve[e] + d_value * x.slope[e];
    add_outer(c, d_weights + half, x.force, y.work[e], e);
    add_outer(c, d_weights + half, y.d_answer, x.value[e], e);
    add_outer(c, d_weights, x.k, d, e);
    y.work[e] = d;
  });
  __syncthreads();
  each_row_dot(weights, c.keys, c.width, y.work, [&](int i, Real back) {
    g.k[at * c.keys + i] = Token(back + y.d_answer[i] - step * y.along_k[i]);
    g.v[at * c.keys + i] = Token(x.said[i]);
  });
}

__device__ __forceinline__ void store_sums(const Call& c, const Gradients& g, long long at,
                                           const Sums& sums, Real* scratch) {
  Real gate = g.gate ? block_sum(sums.gate, scratch) : Real(0);
  Real step = block_sum(sums.step, scratch), log_decay = block_sum(sums.log_decay, scratch);
  Real momentum = c.momentum ? block_sum(sums.momentum, scratch) : Real(0);
  if (threadIdx.x) return;
  g.step[at] = step;
  g.log_decay[at] = log_decay;
  if (g.gate) g.gate[at] = gate;
  if (c.momentum) g.momentum[at] = momentum;
}

// All of a token, given the states before and after it; `d` goes from after it to before it.
__device__ __forceinline__ void token_backward(const Call& c, const Gradients& g, long long at,
                                               int image, State before, State after, State d,
                                               const Vectors& x, const Turned& y) {
  Sums sums{};
  int half = c.keys * c.width;
  for (int i = threadIdx.x; i < c.keys; i += blockDim.x) y.dy[i] = Real(g.dy[at * c.keys + i]);
  load_token(c, at, x);
  answer_backward(c, g, at, after.weights, d.weights, x, y, sums);
  image_backward(c, image, after, d, x);
  find_descent(c, at, before.weights, x, [&](int e, Gelu z) { y.curve[e] = z.curvature; });
  each_column(c.width, [&](int e) {
    y.pulled[e] = column_dot(before.weights + half, c.keys, c.width, e, x.force);
    y.work[e] = y.pulled[e] * x.slope[e];
  });
  __syncthreads();
  move_backward(c, at, image, before, d, x, y, sums);
  descent_backward(c, g, at, before.weights, d.weights, x, y);
  store_sums(c, g, at, sums, x.scratch);
}
