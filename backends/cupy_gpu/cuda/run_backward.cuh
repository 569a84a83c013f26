// A run of segments backwards, whichever way its tokens go: the gradient of the state goes from the
// end of its last segment to the start of its first.
#pragma once
#include "deep_call.cuh"
#include "replay.cuh"

// `d` moves to where a run begins: `to` is null or receives it, or zeros if it does not belong.
__device__ __forceinline__ void give(const Call& c, State d, Real* to, bool belongs) {
  for (int at = threadIdx.x; at < c.size && to; at += blockDim.x)
    to[at] = !belongs ? Real(0) : at < c.both() ? d.weights[at] : d.second[at - c.both()];
}

// d += the gradient of a checkpoint, or (null) d = 0.
__device__ __forceinline__ void take(const Call& c, State d, const Real* from) {
  for (int at = threadIdx.x; at < c.size; at += blockDim.x) {
    Real& to = at < c.both() ? d.weights[at] : d.second[at - c.both()];
    to = from ? to + from[at] : Real(0);
  }
}

// The run that begins with segment `p`, if one does: `segment(place, state before it)` for each.
// d_start (B, S, H, P) is zero for segments that go on; d_carry may be null.
template <class Segment>
__device__ __forceinline__ void run_backward(const Call& c, Place p, const Real* checkpoints,
                                             const Real* d_checkpoints, State d, Real* d_start,
                                             Real* d_carry, Segment segment) {
  if (!c.begins_run(p.b, p.s)) return;
  int first = p.s;
  take(c, d, nullptr);
  for (p.s = c.end_run(p.b, first) - 1; p.s >= first; --p.s) {
    if (p.s > first) give(c, d, d_start + c.memory(p.b, p.s, p.h), false);
    if (c.is_empty(p.b, p.s)) continue;
    if (d_checkpoints) take(c, d, d_checkpoints + c.memory(p.b, p.s, p.h));
    __syncthreads();
    segment(p, c.before(checkpoints, p.b, p.s, first, p.h));
    __syncthreads();
  }
  bool restarts = c.restart[p.b * c.segments + first];
  give(c, d, d_start + c.memory(p.b, first, p.h), restarts);
  if (first == 0 && d_carry)
    give(c, d, d_carry + ((long long)p.b * c.heads + p.h) * c.size, !restarts);
  __syncthreads();
}
