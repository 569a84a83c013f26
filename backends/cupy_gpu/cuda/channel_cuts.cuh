// Which chunks belong together: segments, and runs of them between two restarts.
#pragma once
#include "channel.cuh"

// Cuts: bounds (B, S + 1), restart (B, S), and the first chunk of each segment (B, S + 1).
struct Cuts {
  const int *bounds, *restart, *chunks;
  int segments;
  __device__ __forceinline__ int begin(int row, int s) const {
    return bounds[row * (segments + 1) + s];
  }
  __device__ __forceinline__ int chunk(int row, int s) const {
    return chunks[row * (segments + 1) + s];
  }
  __device__ __forceinline__ bool restarts(int row, int s) const {
    return restart[row * segments + s] != 0;
  }
  // The tokens of a chunk of a segment.
  __device__ __forceinline__ Place place(int row, int head, int s, int chunk_index) const {
    int first = begin(row, s) + (chunk_index - chunk(row, s)) * CHUNK;
    return {row, first, min(CHUNK, begin(row, s + 1) - first), head};
  }
};
