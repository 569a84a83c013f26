// Mixtures of one layer of the cached perceptrons, M_i (K, E), weighed by a token's gates:
//
//   up         z_t = sum_i g_ti M_i^T x_t         x (B, T, H, K)
//   down       x_t = sum_i g_ti M_i z_t           z (B, T, H, E)
//   outwards   dM_i = sum_t g_ti x_t z_t^T        dg_ti = <x_t, M_i z_t>
//
// `layer` is 0 for w_in, 1 for the transpose of w_out. Checkpoints that no token of a tile reads are
// skipped.
#include "deep_columns.cuh"
#include "product.cuh"
#include "tile_rows.cuh"

#ifndef MC_KEYS
#define MC_KEYS 64
#define MC_ROWS 64
#define MC_SLICE 64
#endif

constexpr int KEYS = MC_KEYS, ROWS = MC_ROWS, SLICE = MC_SLICE, THREADS = 256;
constexpr int BY_KEY = padded(KEYS), BY_UNIT = padded(SLICE);
typedef Tile<ROWS, KEYS, THREADS> Answers;

struct Work {
  Real *x, *layer, *z;    // (ROWS, KEYS), (KEYS, SLICE), (ROWS, SLICE)
  Real *weights, *sums;  // (ROWS), (WARPS, ROWS)
  int* scratch;
};

__device__ __forceinline__ Work take_work(Arena& arena) {
  Work w;
  w.x = arena.take<Real>(ROWS * BY_KEY);
  w.layer = arena.take<Real>(KEYS * BY_UNIT);
  w.z = arena.take<Real>(ROWS * BY_UNIT);
  w.weights = arena.take<Real>(ROWS);
  w.sums = arena.take<Real>(Answers::WARPS * ROWS);
  w.scratch = arena.take<int>(32);
  return w;
}

// z (B, T, H, E). Grid: tiles of tokens times slices, B H.
extern "C" __global__ void __launch_bounds__(THREADS)
mix_up(const Real* states, const Real* gates, const int* first, const int* last, const int* segment,
       int tokens, int heads, int segments, int count, int gated, int keys, int width, int size,
       int layer, const Token* x, Real* z) {
  Columns c{states, gates, first, last, segment, tokens, heads,
            segments, count, gated, keys, width, size};
  int slices = (width + SLICE - 1) / SLICE, slice = blockIdx.x % slices * SLICE;
  int b = blockIdx.y / heads, h = blockIdx.y % heads, t = blockIdx.x / slices * ROWS;
  MC_ARENA(arena);
  Work w = take_work(arena);
  load<ROWS, KEYS>(w.x, BY_KEY, c.rows(x, b, t, h, keys, 0));
  Range seen = seen_by(c, b, t, ROWS, w.scratch);
  Tile<ROWS, SLICE, THREADS> mixed;
  mixed.clear();
  for (int column = seen.low; column < seen.high; ++column) {
    if (!weigh(c, b, t, h, column, ROWS, w.weights, w.scratch)) continue;
    load<KEYS, SLICE>(w.layer, BY_UNIT, c.matrix(b, column, h, layer, slice));
    __syncthreads();
    add_product(mixed, rows_times(w.weights, of(w.x, BY_KEY)), of(w.layer, BY_UNIT), KEYS);
  }
  Matrix<Real> out = c.rows(z, b, t, h, width, slice);
  mixed.each([&](int i, int j, Real value) { out.put(i, j, value); });
}

// M z of one checkpoint for a tile's tokens, whose numbers z are `rows` from slice 0 on.
__device__ __forceinline__ void apply(const Columns& c, int b, int t, int h, int column, int layer,
                                      const Real* z, const Work& w, Answers& answers) {
  for (int slice = 0; slice < c.width; slice += SLICE) {
    __syncthreads();
    load<KEYS, SLICE>(w.layer, BY_UNIT, c.matrix(b, column, h, layer, slice));
    load<ROWS, SLICE>(w.z, BY_UNIT, c.rows(z, b, t, h, c.width, slice));
    __syncthreads();
    add_product(answers, of(w.z, BY_UNIT), turned(w.layer, BY_UNIT), SLICE);
  }
}

// Adds to y (B, T, H, K), unless it is null, what is said down; and, unless d_gates is null, to
// d_gates (B, T, H, gated) the products of x with what each checkpoint says. Grid: tiles, B H.
extern "C" __global__ void __launch_bounds__(THREADS)
mix_down(const Real* states, const Real* gates, const int* first, const int* last,
         const int* segment, int tokens, int heads, int segments, int count, int gated, int keys,
         int width, int size, int layer, const Real* z, const Token* x, Token* y, Real* d_gates) {
  Columns c{states, gates, first, last, segment, tokens, heads,
            segments, count, gated, keys, width, size};
  int b = blockIdx.y / heads, h = blockIdx.y % heads, t = blockIdx.x * ROWS;
  MC_ARENA(arena);
  Work w = take_work(arena);
  if (d_gates) load<ROWS, KEYS>(w.x, BY_KEY, c.rows(x, b, t, h, keys, 0));
  Range seen = seen_by(c, b, t, ROWS, w.scratch);
  Answers mixed;
  mixed.clear();
  for (int column = seen.low; column < seen.high; ++column) {
    if (!weigh(c, b, t, h, column, ROWS, w.weights, w.scratch)) continue;
    Answers said;
    said.clear();
    apply(c, b, t, h, column, layer, z, w, said);
    each_place<Answers>([&](int i, int, int own, int part) {
      mixed.x[own][part] += w.weights[i] * said.x[own][part];
    });
    if (!d_gates) continue;
    for (int i = threadIdx.x; i < Answers::WARPS * ROWS; i += THREADS) w.sums[i] = Real(0);
    __syncthreads();
    add_row_sums<Answers>(w.sums, [&](int i, int j, int own, int part) {
      return w.x[i * BY_KEY + j] * said.x[own][part];
    });
    __syncthreads();
    for (int i = threadIdx.x; i < ROWS; i += THREADS)
      if (w.weights[i] != Real(0))
        d_gates[c.token(b, t + i, h) * gated + column] += row_sum<Answers>(w.sums, i);
  }
  if (!y) return;
  Matrix<Token> out = c.rows(y, b, t, h, keys, 0);
  mixed.each([&](int i, int j, Real value) { out.put(i, j, out.get(i, j) + value); });
}

// dM of d_states (B, C, H, P). Grid: C slices, B H.
extern "C" __global__ void __launch_bounds__(THREADS)
mix_outwards(const Real* states, const Real* gates, const int* first, const int* last,
             const int* segment, int tokens, int heads, int segments, int count, int gated, int keys,
             int width, int size, int layer, const Token* x, const Real* z, Real* d_states) {
  Columns c{states, gates, first, last, segment, tokens, heads,
            segments, count, gated, keys, width, size};
  int b = blockIdx.y / heads, h = blockIdx.y % heads, column = blockIdx.x % count;
  int slice = blockIdx.x / count * SLICE;
  MC_ARENA(arena);
  Work w = take_work(arena);
  Tile<KEYS, SLICE, THREADS> d;
  d.clear();
  for (int t = 0; t < tokens; t += ROWS) {
    if (!weigh(c, b, t, h, column, ROWS, w.weights, w.scratch)) continue;
    load<ROWS, KEYS>(w.x, BY_KEY, c.rows(x, b, t, h, keys, 0));
    load<ROWS, SLICE>(w.z, BY_UNIT, c.rows(z, b, t, h, width, slice));
    __syncthreads();
    add_product(d, columns_times(w.weights, turned(w.x, BY_KEY)), of(w.z, BY_UNIT), ROWS);
  }
  Real* at = d_states + c.state(b, column, h) + layer * keys * width + slice;
  Matrix<Real> out{at, width, keys, width - slice};
  d.each([&](int i, int j, Real value) { out.put(i, j, value); });
}
