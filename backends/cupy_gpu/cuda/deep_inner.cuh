// The inner gradients of a block of tokens, all at its anchor: errors first, then what is made of
// them, a slice of hidden units at a time.
#pragma once
#include "deep_block.cuh"
#include "deep_error.cuh"
#include "gelu.cuh"
#include "tile_rows.cuh"

// tile = X W for X (ROWS, KEYS) and a slice W (KEYS, SLICE), both in shared memory.
__device__ __forceinline__ void times(Hidden& tile, const Real* rows, const Real* layer) {
  tile.clear();
  add_product(tile, of(rows, BY_KEY), of(layer, BY_UNIT), KEYS);
}

// tile += Z W^T for Z (ROWS, SLICE) and W (KEYS, SLICE).
__device__ __forceinline__ void add_back(Answers& tile, View hidden, const Real* layer) {
  add_product(tile, hidden, turned(layer, BY_UNIT), SLICE);
}

// R in x.r, errors in x.v, at the anchor. Ends with a barrier.
__device__ __forceinline__ void find_errors(const Call& c, Span p, const Real* anchor,
                                            const Block& x) {
  Answers said;
  said.clear();
  for (int slice = 0; slice < c.width && c.loss != DOT; slice += SLICE) {
    load_layers(c, anchor, slice, x);
    __syncthreads();
    Hidden h;
    times(h, x.k, x.w_in);
    h.each([&](int i, int j, Real before) { x.value[i * BY_UNIT + j] = gelu_value(before); });
    __syncthreads();
    add_back(said, of(x.value, BY_UNIT), x.w_out);
    __syncthreads();
  }
  said.each([&](int i, int j, Real value) { x.r[i * BY_KEY + j] = value; });
  __syncthreads();
  for (int i = threadIdx.x >> 5; i < p.count; i += THREADS / 32) {
    int row = i * BY_KEY;
    find_force(c.loss, x.delta[i], c.keys, x.k + row, x.v + row, x.r + row, x.v + row, x.r + row);
  }
  __syncthreads();
}

// A and down of a slice at the anchor, whose layers are loaded; `keep(own, part, gelu, pulled)` gets
// what they are made of. Begins and ends with a barrier.
template <class Keep>
__device__ __forceinline__ void inner_gradient(const Block& x, Keep keep) {
  __syncthreads();
  Hidden h, pulled;
  times(h, x.k, x.w_in);
  times(pulled, x.r, x.w_out);
  each_place<Hidden>([&](int i, int j, int own, int part) {
    Gelu z = gelu(h.x[own][part]);
    x.value[i * BY_UNIT + j] = z.value;
    x.down[i * BY_UNIT + j] = pulled.x[own][part] * z.slope;
    keep(own, part, z, pulled.x[own][part]);
  });
  __syncthreads();
}
