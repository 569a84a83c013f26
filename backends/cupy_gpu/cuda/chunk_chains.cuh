// Chains of chunks, one after the other: S_c = a_c S_{c-1} + U_c, in place where the U_c lie; and
// the same backwards. A thread owns one entry of the state; chunks are asked for ahead in groups.
#pragma once
#include "chunk.cuh"

constexpr int AHEAD = 4;

// `chain` is (first chunk, end); wholes (chunks, H).
__device__ __forceinline__ void chain_states(const int* chunks, const int* chain,
                                             const Real* wholes, States states, Sizes sizes,
                                             int head, long long entry) {
  Chunk first = chunk_of(chunks, chain[0], head);
  const Real* start = states.at(first.start, first.row, head, sizes);
  Real state = start ? start[entry] : Real(0);
  for (int begin = chain[0]; begin < chain[1]; begin += AHEAD) {
    Real* at[AHEAD];
    Real added[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
      Chunk chunk = chunk_of(chunks, min(begin + i, chain[1] - 1), head);
      at[i] = states.at(chunk.end, chunk.row, head, sizes) + entry;
      added[i] = *at[i];
    }
#pragma unroll
    for (int i = 0; i < AHEAD; ++i)
      if (begin + i < chain[1])
        *at[i] = state = wholes[(long long)(begin + i) * sizes.heads + head] * state + added[i];
  }
}

// dS_{c-1} = a_c dS_c + W_c, plus what enters at the end of c - 1 if a segment ends there; from the
// last chunk, whose dS enters from outside. `outside` is null but for its ends.
__device__ __forceinline__ void chain_gradients(const int* chunks, const int* chain,
                                                const Real* wholes, States gradients, Sizes sizes,
                                                int head, long long entry) {
  Chunk last = chunk_of(chunks, chain[1] - 1, head);
  Real d_state = gradients.at(last.gradient, last.row, head, sizes)[entry];
  for (int end = chain[1]; end > chain[0]; end -= AHEAD) {
    Real* at[AHEAD];
    Real added[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
      int index = max(end - 1 - i, chain[0]);
      Chunk before = chunk_of(chunks, max(index - 1, chain[0]), head);
      int code = index > chain[0] ? before.gradient : chunk_of(chunks, index, head).start;
      at[i] = gradients.at(code, before.row, head, sizes);
      added[i] = at[i] ? at[i][entry] : Real(0);
      if (index > chain[0] && before.end <= FIRST_END)
        added[i] += gradients.at(before.end, before.row, head, sizes)[entry];
    }
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
      if (end - 1 - i < chain[0]) break;
      d_state = wholes[(long long)(end - 1 - i) * sizes.heads + head] * d_state + added[i];
      if (at[i]) at[i][entry] = d_state;
    }
  }
}
