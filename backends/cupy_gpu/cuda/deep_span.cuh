// Blocks of tokens of one chunk: how a segment is cut into them, and where their arrays lie.
#pragma once
#include "deep_call.cuh"
#include "load.cuh"
#include "product.cuh"

#ifndef MC_KEYS
#define MC_KEYS 64
#define MC_ROWS 32
#define MC_SLICE 32
#endif

constexpr int KEYS = MC_KEYS, ROWS = MC_ROWS, SLICE = MC_SLICE, THREADS = 256;
constexpr int BY_KEY = padded(KEYS), BY_UNIT = padded(SLICE), BY_ROW = padded(ROWS);
typedef Tile<ROWS, SLICE, THREADS> Hidden;
typedef Tile<ROWS, KEYS, THREADS> Answers;
typedef Tile<ROWS, ROWS, THREADS> Pairs;
typedef Tile<KEYS, SLICE, THREADS> Layer;

// Where a block is. `opens`: it is the first of its chunk, so that the anchor is the memory itself;
// `stays_open`: the anchor is needed behind it.
struct Span {
  int b, s, h, begin, count;
  bool opens, stays_open;
};

// The blocks of a segment end where chunks end, and have at most ROWS tokens.
struct Blocks {
  int begin, end, chunk, head, in_head, in_chunk;

  __device__ __forceinline__ Blocks(const Call& c, Place p, int chunk) : chunk(chunk) {
    begin = c.begin(p.b, p.s);
    end = c.begin(p.b, p.s + 1);
    head = min(chunk - c.position(p.b, p.s, begin) % chunk, end - begin);
    in_head = (head + ROWS - 1) / ROWS;
    in_chunk = (chunk + ROWS - 1) / ROWS;
  }
  __device__ __forceinline__ int count() const {
    int rest = end - begin - head, whole = rest / chunk;
    return in_head + whole * in_chunk + (rest - whole * chunk + ROWS - 1) / ROWS;
  }
  __device__ __forceinline__ Span span(const Call& c, Place p, int i) const {
    int first = begin, last = begin + head, within = i;
    if (i >= in_head) {
      int whole = (i - in_head) / in_chunk;
      within = (i - in_head) % in_chunk;
      first = begin + head + whole * chunk;
      last = min(first + chunk, end);
    }
    first += within * ROWS;
    int stop = min(first + ROWS, last);
    bool opens = c.position(p.b, p.s, first) % chunk == 0;
    bool closes = stop < end && c.position(p.b, p.s, stop) % chunk == 0;
    return {p.b, p.s, p.h, first, stop - first, opens, !closes};
  }
};

// The block's tokens in an array (B, T, H, wide), their numbers from `slice` on.
template <class T>
__device__ __forceinline__ Matrix<T> rows_of(const Call& c, Span p, T* x, int wide, int slice = 0) {
  return {x + c.token(p.b, p.begin, p.h) * wide + slice, (long long)c.heads * wide, p.count,
          wide - slice};
}

// A slice of a matrix of a state: 0 and 1 are w_in and w_out, 2 and 3 their momentum.
template <class T>
__device__ __forceinline__ Matrix<T> slice_of(const Call& c, T* state, int which, int slice) {
  return {state + which * c.keys * c.width + slice, c.width, c.keys, c.width - slice};
}

// Where gradients are taken: in the state, or what is kept at its end.
template <class T>
__device__ __forceinline__ T* anchor_of(const Call& c, Span p, T* state) {
  return p.opens ? state : state + c.size - c.both();
}
