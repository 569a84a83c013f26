// Scan of deep memories token after token, forward: for each row and head, each run of segments.
#include "deep_held.cuh"

__device__ __forceinline__ void copy(const Real* from, Real* to, int count) {
  for (int at = threadIdx.x; at < count; at += blockDim.x) to[at] = from[at];
}

__device__ __forceinline__ void scan_segment(const Call& c, Place p, int image, State state,
                                             const Vectors& x, Token* reads, Real* hidden) {
  for (int t = c.begin(p.b, p.s); t < c.begin(p.b, p.s + 1); ++t) {
    long long at = c.token(p.b, t, p.h);
    load_token(c, at, x);
    write_token(c, at, image, state, state, x);
    ask_token(c, at, state.weights, x, reads, hidden);
  }
}

// A run of segments with the perceptron in registers; of `held` numbers, the momentum is in `shared`.
__device__ __forceinline__ void scan_held(const Call& c, Place p, int held, Real* shared,
                                          const Vectors& x, Real* parts, Token* reads,
                                          Real* checkpoints, Real* hidden) {
  Held perceptron;
  int first = p.s, more = c.size - c.both();
  bool fresh = true;
  for (int end = c.end_run(p.b, p.s); p.s < end; ++p.s) {
    Real* checkpoint = checkpoints + c.memory(p.b, p.s, p.h);
    const Real* came = c.before(checkpoints, p.b, p.s, first, p.h);
    bool empty = c.is_empty(p.b, p.s);
    for (int at = threadIdx.x; at < c.size && empty; at += blockDim.x) checkpoint[at] = Real(0);
    if (empty) continue;
    Real* second = held ? shared : checkpoint + c.both();
    if (fresh) take_in(c, came, perceptron);
    if (fresh || !held) copy(came + c.both(), second, more);
    fresh = false;
    for (int t = c.begin(p.b, p.s); t < c.begin(p.b, p.s + 1); ++t) {
      long long at = c.token(p.b, t, p.h);
      load_token(c, at, x);
      write_held(c, at, perceptron, second, second, x, parts);
      ask_held(c, at, perceptron, x, parts, reads, hidden);
    }
    put_out(c, perceptron, checkpoint);
    __syncthreads();
    if (held) copy(second, checkpoint + c.both(), more);
    __syncthreads();
  }
}

// reads (B, T, H, K), checkpoints (B, S, H, P), hidden (B, T, H, E) or null. Grid: B H S tasks.
// Of the state the first `held` numbers lie in shared memory; the rest is worked on where it is kept.
// With MC_KEYS the perceptron is in registers instead, and the `held` numbers are its momentum.
extern "C" __global__ void __launch_bounds__(256, 1)
deep_scan(const Token* q, const Token* k, const Token* v, const Real* step, const Real* log_decay,
          const Real* momentum, const Real* delta, const Real* gate, const Real* extra,
          const Real* start, const Real* carry, const int* bounds, const int* restart,
          const int* offset, int rows, int tokens, int heads, int segments, int keys, int width,
          int size, int loss, int image, int held, Token* reads, Real* checkpoints, Real* hidden) {
  Call c{q,      k,       v,      step, log_decay, momentum, delta,    gate, extra, start, carry,
         bounds, restart, offset, rows, tokens,    heads,    segments, keys, width, size,  loss};
  Place p = place_of(c, blockIdx.x);
  if (!c.begins_run(p.b, p.s)) return;
  MC_ARENA(arena);
  Vectors x = take_vectors(arena, keys, width);
  Real* shared = arena.take<Real>(held);
  if constexpr (KEYS > 0) {
    Real* parts = arena.take<Real>(blockDim.x / 32 * KEYS);
    return scan_held(c, p, held, shared, x, parts, reads, checkpoints, hidden);
  }
  bool fresh = true;
  for (int first = p.s, end = c.end_run(p.b, p.s); p.s < end; ++p.s) {
    Real* checkpoint = checkpoints + c.memory(p.b, p.s, p.h);
    if (c.is_empty(p.b, p.s)) {
      for (int at = threadIdx.x; at < size; at += blockDim.x) checkpoint[at] = Real(0);
      continue;
    }
    const Real* came = c.before(checkpoints, p.b, p.s, first, p.h);
    if (fresh) copy(came, shared, held);
    copy(came + held, checkpoint + held, size - held);
    fresh = false;
    State state{held ? shared : checkpoint, (held == size ? shared : checkpoint) + c.both()};
    __syncthreads();
    scan_segment(c, p, image, state, x, reads, hidden);
    __syncthreads();
    copy(shared, checkpoint, held);
  }
}
