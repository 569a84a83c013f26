// A block of tokens of one chunk, whose gradients are all taken at one memory, the anchor.
//
//   H = K w_in    A = gelu(H)    R of `deep_error.cuh`    down = (R w_out^T) . gelu'(H)
//   S_t = m_t S_{t-1} - step_t G_t    M_t = a_t M_{t-1} + S_t    G_t = k_t^T down_t, r_t^T a_t
//
// is linear in what comes in and in the G_j:  M_t = since_t M + lifted_t S - sum_j pairs_tj G_j, with
// numbers that are the same for matrices of any size. What is made of hidden units is made a slice
// of them at a time; matrices w_out lie transposed, (K, E).
#pragma once
#include "deep_call.cuh"
#include "deep_error.cuh"
#include "gelu.cuh"
#include "load.cuh"
#include "product.cuh"
#include "tile_rows.cuh"

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

// A block in shared memory.
struct Block {
  Real *k, *v, *r;                  // (ROWS, KEYS); errors replace v
  Real *w_in, *w_out, *s_in, *s_out;  // (KEYS, SLICE) of the anchor or the memory, of its momentum
  Real *value, *down, *query;       // (ROWS, SLICE): A, down, and A of the queries
  Real *pairs, *asked;              // (ROWS, ROWS)
  Real *step, *decay, *momentum, *delta, *gate;       // (ROWS)
  Real *since, *lifted, *until, *pushed, *kept;       // (ROWS), kept (1)
};

__device__ __forceinline__ Block take_block(Arena& arena, bool moves) {
  Block x{};
  x.k = arena.take<Real>(ROWS * BY_KEY);
  x.v = arena.take<Real>(ROWS * BY_KEY);
  x.r = arena.take<Real>(ROWS * BY_KEY);
  x.pairs = arena.take<Real>(ROWS * BY_ROW);
  x.asked = arena.take<Real>(ROWS * BY_ROW);
  x.step = arena.take<Real>(ROWS);
  x.decay = arena.take<Real>(ROWS);
  x.momentum = arena.take<Real>(ROWS);
  x.delta = arena.take<Real>(ROWS);
  x.gate = arena.take<Real>(ROWS);
  x.since = arena.take<Real>(ROWS);
  x.lifted = arena.take<Real>(ROWS);
  x.until = arena.take<Real>(ROWS);
  x.pushed = arena.take<Real>(ROWS);
  x.kept = arena.take<Real>(4);
  x.w_in = arena.take<Real>(KEYS * BY_UNIT);
  x.w_out = arena.take<Real>(KEYS * BY_UNIT);
  x.s_in = moves ? arena.take<Real>(KEYS * BY_UNIT) : nullptr;
  x.s_out = moves ? arena.take<Real>(KEYS * BY_UNIT) : nullptr;
  x.value = arena.take<Real>(ROWS * BY_UNIT);
  x.down = arena.take<Real>(ROWS * BY_UNIT);
  x.query = arena.take<Real>(ROWS * BY_UNIT);
  return x;
}

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

__device__ __forceinline__ void load_layers(const Call& c, const Real* state, int slice,
                                            const Block& x) {
  load<KEYS, SLICE>(x.w_in, BY_UNIT, slice_of(c, state, 0, slice));
  load<KEYS, SLICE>(x.w_out, BY_UNIT, slice_of(c, state, 1, slice));
}

// What each token's memory is made of; a thread runs along the tokens for one of its columns.
__device__ __forceinline__ void set_coefficients(int count, const Block& x) {
  for (int j = threadIdx.x; j < ROWS + 2; j += THREADS) {
    Real weight = Real(j == ROWS), moved = Real(j == ROWS + 1);
    Real step = j < ROWS ? x.step[j] : Real(1);
    for (int t = 0; t < ROWS; ++t) {
      bool real = t < count;
      if (real) {
        moved = x.momentum[t] * moved + Real(t == j);
        weight = x.decay[t] * weight + moved;
      }
      Real* to = j < ROWS ? x.pairs + t * BY_ROW + j : j == ROWS ? x.since + t : x.lifted + t;
      *to = real ? weight * step : Real(0);
    }
    if (j < ROWS) {
      x.until[j] = weight * step;
      x.pushed[j] = moved * step;
    } else if (j == ROWS + 1) {
      *x.kept = moved;
    }
  }
}

// k, v and the numbers of the block's tokens; coefficients. Begins and ends with a barrier.
__device__ __forceinline__ void load_block(const Call& c, Span p, const Block& x) {
  __syncthreads();
  load<ROWS, KEYS>(x.k, BY_KEY, rows_of(c, p, c.k, c.keys));
  load<ROWS, KEYS>(x.v, BY_KEY, rows_of(c, p, c.v, c.keys));
  for (int i = threadIdx.x; i < ROWS; i += THREADS) {
    bool real = i < p.count;
    long long at = c.token(p.b, p.begin + i, p.h);
    x.step[i] = real ? c.step[at] : Real(0);
    x.decay[i] = real ? exp(c.log_decay[at]) : Real(0);
    x.momentum[i] = real && c.momentum ? c.momentum[at] : Real(0);
    x.delta[i] = real && c.delta ? c.delta[at] : Real(0);
    x.gate[i] = !real ? Real(0) : c.gate ? c.gate[at] : Real(1);
  }
  __syncthreads();
  set_coefficients(p.count, x);
  __syncthreads();
}

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
