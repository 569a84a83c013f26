// Chains of chunks, one after the other: S_c = diag(a_c) S_{c-1} + U_c, in place where the U_c lie;
// and the same backwards. A thread owns one entry of the state; chunks are asked for ahead in groups.
#pragma once
#include "channel_cuts.cuh"

constexpr int AHEAD = 8;

// A block's head, and the thread's entry of its state.
struct Entry {
  int row, segment, head;
  long long at, size;
  bool real;
  __device__ __forceinline__ Entry(Cuts cuts, Shape shape)
      : row(blockIdx.x / cuts.segments), segment(blockIdx.x % cuts.segments), head(blockIdx.y),
        at((long long)blockIdx.z * THREADS + threadIdx.x),
        size((long long)shape.keys * shape.values), real(at < size) {}
  // Where it lies in an array (B, S, H, K, V).
  __device__ __forceinline__ long long end(Cuts cuts, Shape shape, int s) const {
    return (((long long)row * cuts.segments + s) * shape.heads + head) * size + at;
  }
  __device__ __forceinline__ long long carried(Shape shape) const {
    return ((long long)row * shape.heads + head) * size + at;
  }
};

// states[c] goes from U_c to the state before c; wholes (N, H, K). If `apart`, every segment is a
// block's and goes on from the checkpoint of the one before; otherwise checkpoints are written.
__device__ __forceinline__ void chain(Cuts cuts, Shape shape, const Real* wholes, const Real* carry,
                                      Real* checkpoints, Real* states, bool apart) {
  Entry x(cuts, shape);
  int s = x.segment, key = int(x.at / shape.values);
  bool restarts = cuts.restarts(x.row, s);
  if (!x.real || !(s == 0 || restarts || apart)) return;
  Real state = 0;
  if (!restarts && s > 0) state = checkpoints[x.end(cuts, shape, s - 1)];
  if (!restarts && s == 0 && carry) state = carry[x.carried(shape)];
  for (; s < cuts.segments && (s == x.segment || !(apart || cuts.restarts(x.row, s))); ++s) {
    int last = cuts.chunk(x.row, s + 1);
    for (int first = cuts.chunk(x.row, s); first < last; first += AHEAD) {
      Real written[AHEAD], factor[AHEAD];
#pragma unroll
      for (int i = 0; i < AHEAD; ++i) {
        long long index = (long long)min(first + i, last - 1) * shape.heads + x.head;
        written[i] = states[index * x.size + x.at];
        factor[i] = wholes[index * shape.keys + key];
      }
#pragma unroll
      for (int i = 0; i < AHEAD; ++i) {
        if (first + i >= last) break;
        states[((long long)(first + i) * shape.heads + x.head) * x.size + x.at] = state;
        state = factor[i] * state + written[i];
      }
    }
    if (!apart && cuts.chunk(x.row, s) < last) checkpoints[x.end(cuts, shape, s)] = state;
  }
}

// d_states[c] goes from what the reads of c give to the state before it to the gradient of the state
// after it. d_checkpoints enter at the ends of segments.
__device__ __forceinline__ void chain_back(Cuts cuts, Shape shape, const Real* wholes,
                                           Real* d_carry, const Real* d_checkpoints,
                                           Real* d_states) {
  Entry x(cuts, shape);
  int first_segment = x.segment, s = first_segment + 1, key = int(x.at / shape.values);
  if (!x.real || !(first_segment == 0 || cuts.restarts(x.row, first_segment))) return;
  while (s < cuts.segments && !cuts.restarts(x.row, s)) ++s;
  Real d_state = 0;
  for (--s; s >= first_segment; --s) {
    int first = cuts.chunk(x.row, s), last = cuts.chunk(x.row, s + 1);
    if (first < last) d_state += d_checkpoints[x.end(cuts, shape, s)];
    for (int end = last; end > first; end -= AHEAD) {
      Real read[AHEAD], factor[AHEAD];
#pragma unroll
      for (int i = 0; i < AHEAD; ++i) {
        long long index = (long long)max(end - 1 - i, first) * shape.heads + x.head;
        read[i] = d_states[index * x.size + x.at];
        factor[i] = wholes[index * shape.keys + key];
      }
#pragma unroll
      for (int i = 0; i < AHEAD; ++i) {
        if (end - 1 - i < first) break;
        d_states[((long long)(end - 1 - i) * shape.heads + x.head) * x.size + x.at] = d_state;
        d_state = factor[i] * d_state + read[i];
      }
    }
  }
  if (first_segment == 0 && d_carry && !cuts.restarts(x.row, 0)) d_carry[x.carried(shape)] = d_state;
}
