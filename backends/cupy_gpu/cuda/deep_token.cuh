// One token of a deep memory, forward: it is written, then it is asked.
//
//   z = gelu(w_in^T k)   r of `deep_error.cuh`   d = gelu'(w_in^T k) (w_out r)
//   G_in = k d^T   G_out = z r^T          A <- a A - step G        or S <- m S - step G, A <- a A + S
//   y = q + g w_out^T gelu(g w_in^T q + extra)
//
// G is of rank one in both matrices, and never put together.
#pragma once
#include "deep_call.cuh"
#include "deep_error.cuh"
#include "deep_image.cuh"
#include "gelu.cuh"

#ifdef MC_KEYS
constexpr int KEYS = MC_KEYS;  // K, rounded up, of a perceptron in registers
#else
constexpr int KEYS = 0;
#endif

// Vectors of the token at hand, in shared memory: of length K, of length E, and one per warp.
struct Vectors {
  Real *k, *q, *v, *said, *error, *force;
  Real *value, *slope, *hidden;
  Real* scratch;
};

__device__ __forceinline__ Vectors take_vectors(Arena& arena, int keys, int width) {
  Vectors x;
  keys = max(keys, KEYS);
  x.k = arena.take<Real>(keys);
  x.q = arena.take<Real>(keys);
  x.v = arena.take<Real>(keys);
  x.said = arena.take<Real>(keys);
  x.error = arena.take<Real>(keys);
  x.force = arena.take<Real>(keys);
  x.value = arena.take<Real>(width);
  x.slope = arena.take<Real>(width);
  x.hidden = arena.take<Real>(width);
  x.scratch = arena.take<Real>(32);
  return x;
}

// k, q, v of a token, padded by zeros. Ends with a barrier.
__device__ __forceinline__ void load_token(const Call& c, long long at, const Vectors& x) {
  for (int i = threadIdx.x; i < max(c.keys, KEYS); i += blockDim.x) {
    bool real = i < c.keys;
    x.k[i] = real ? Real(c.k[at * c.keys + i]) : Real(0);
    x.q[i] = real ? Real(c.q[at * c.keys + i]) : Real(0);
    x.v[i] = real ? Real(c.v[at * c.keys + i]) : Real(0);
  }
  __syncthreads();
}

// value and slope of what the key excites; error and force. Ends with a barrier.
template <class Keep>
__device__ __forceinline__ void find_descent(const Call& c, long long at, const Real* weights,
                                             const Vectors& x, Keep keep) {
  each_column(c.width, [&](int e) {
    Gelu z = gelu(column_dot(weights, c.keys, c.width, e, x.k));
    x.value[e] = z.value;
    x.slope[e] = z.slope;
    keep(e, z);
  });
  __syncthreads();
  if (c.loss != DOT) {
    each_row_dot(weights + c.keys * c.width, c.keys, c.width, x.value,
                 [&](int i, Real said) { x.said[i] = said; });
    __syncthreads();
  }
  if (threadIdx.x < 32)
    find_force(c.loss, c.delta ? c.delta[at] : Real(0), c.keys, x.k, x.v, x.said, x.error, x.force);
  __syncthreads();
}

// Column e of a matrix after the token, from that before it. `rows` is k or r, `hidden` d or z.
__device__ __forceinline__ void descend(const Call& c, long long at, int image, State before,
                                        State after, const Real* rows, Real hidden, int e) {
  Real decay = exp(c.log_decay[at]), strength = c.step[at] * hidden;
  if (c.momentum) {
    Real keeps = c.momentum[at];
    down_column(
        c.keys, c.width, e, [&](int p) { return Pair{before.weights[p], before.second[p]}; },
        [&](int i, int p, Pair old) {
          Real moved = keeps * old.second - strength * rows[i];
          after.second[p] = moved;
          after.weights[p] = decay * old.first + moved;
        });
  } else {
    const Real* from = image == SAME ? before.weights : before.second;
    Real* to = image == SAME ? after.weights : after.second;
    down_column(
        c.keys, c.width, e, [&](int p) { return from[p]; },
        [&](int i, int p, Real old) { to[p] = decay * old - strength * rows[i]; });
  }
}

// The state after a token whose vectors are loaded, from the one before, in place or elsewhere.
// What other threads wrote there is to be read behind a barrier.
__device__ __forceinline__ void write_token(const Call& c, long long at, int image, State before,
                                            State after, const Vectors& x) {
  int half = c.keys * c.width;
  find_descent(c, at, before.weights, x, [](int, Gelu) {});
  each_column(c.width, [&](int e) {
    Real pulled = column_dot(before.weights + half, c.keys, c.width, e, x.force);
    descend(c, at, image, before, after, x.k, pulled * x.slope[e], e);
    descend(c, at, image, before.from(half), after.from(half), x.force, x.value[e], e);
  });
  if (image != SAME)
    make_image(image, after.second, after.weights, c.keys, c.width, x.scratch);
}

// The answer to a token's query; `hidden` is null or receives the hidden vectors (B, T, H, E).
__device__ __forceinline__ void ask_token(const Call& c, long long at, const Real* weights,
                                          const Vectors& x, Token* reads, Real* hidden) {
  Real gate = c.gate ? c.gate[at] : Real(1);
  each_column(c.width, [&](int e) {
    Real before = gate * column_dot(weights, c.keys, c.width, e, x.q);
    if (c.extra) before += c.extra[at * c.width + e];
    x.hidden[e] = gelu_value(before);
    if (hidden) hidden[at * c.width + e] = x.hidden[e];
  });
  __syncthreads();
  each_row_dot(weights + c.keys * c.width, c.keys, c.width, x.hidden, [&](int i, Real said) {
    reads[at * c.keys + i] = Token(Real(c.q[at * c.keys + i]) + gate * said);
  });
}
