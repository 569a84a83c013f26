// A scan of deep memories: its arrays, and where each segment's memory comes from.
//
// A state is a stack of (K, E) matrices: w_in, the transpose of w_out, then the momentum of both
// (titans) or what both are the image of (moneta, memora), then both as they were at the start of
// the chunk, if gradients are taken there.
#pragma once
#include "base.cuh"

// The perceptron, and what a rule carries besides: each may lie in shared memory or in global.
struct State {
  Real *weights, *second;
  __device__ __forceinline__ State from(int at) const { return {weights + at, second + at}; }
};

struct Call {
  const Token *q, *k, *v;             // (B, T, H, K)
  const Real *step, *log_decay;       // (B, T, H)
  const Real *momentum, *delta;       // (B, T, H), or null
  const Real *gate, *extra;           // of a soup: (B, T, H), (B, T, H, E), or null
  const Real *start;                  // (H, P) the state of a fresh segment
  const Real *carry;                  // (B, H, P), or null if all restart
  const int *bounds, *restart, *offset;  // of Segments
  int rows, tokens, heads, segments, keys, width, size, loss;

  __device__ __forceinline__ long long token(int b, int t, int h) const {
    return ((long long)b * tokens + t) * heads + h;
  }
  __device__ __forceinline__ long long memory(int b, int s, int h) const {
    return (((long long)b * segments + s) * heads + h) * size;
  }
  __device__ __forceinline__ int both() const { return 2 * keys * width; }
  __device__ __forceinline__ int begin(int b, int s) const {
    return bounds[b * (segments + 1) + s];
  }
  __device__ __forceinline__ State state(Real* at) const { return {at, at + both()}; }
  __device__ __forceinline__ bool is_empty(int b, int s) const {
    return begin(b, s) == begin(b, s + 1);
  }
  // Whether what comes before segment s does not matter to it, so that a block may begin here.
  __device__ __forceinline__ bool begins_run(int b, int s) const {
    return s == 0 || restart[b * segments + s];
  }
  __device__ __forceinline__ int end_run(int b, int s) const {
    do ++s;
    while (s < segments && !restart[b * segments + s]);
    return s;
  }
  // The state before segment s of the run that begins at `first`.
  __device__ __forceinline__ const Real* before(const Real* checkpoints, int b, int s, int first,
                                                int h) const {
    while (--s >= first)
      if (!is_empty(b, s)) return checkpoints + memory(b, s, h);
    return restart[b * segments + first] ? start + (long long)h * size
                                         : carry + ((long long)b * heads + h) * size;
  }
  // Tokens of its segment before token t of segment s.
  __device__ __forceinline__ int position(int b, int s, int t) const {
    return t - begin(b, s) + (s == 0 ? offset[b] : 0);
  }
};

// What the backward pass of a scan is given, and gives.
struct Gradients {
  const Token* dy;                              // (B, T, H, K)
  const Real* hidden;                           // (B, T, H, E) or null
  Token *q, *k, *v;                             // out, as in Call
  Real *step, *log_decay, *momentum, *delta;
  Real *gate, *extra;
};

struct Place {
  int b, s, h;
};

// Task `at` of a grid over segments, rows and heads: heads of one segment number come together, so
// that those which begin no run, and have nothing to do, are not all of one block.
__device__ __forceinline__ Place place_of(const Call& c, int at) {
  int bh = at % (c.rows * c.heads);
  return {bh / c.heads, at / (c.rows * c.heads), bh % c.heads};
}
