// What cached memories of a matrix LSTM weigh, so that plain reads of C are left:
//
//     w_ti = g_ti / (max(|n_i . q_t|, e^-m_i) + eps)
//
// All denominators of a block of tokens and checkpoints are one matrix product.
#include "load.cuh"
#include "mlstm_cached.cuh"
#include "tile.cuh"

constexpr int KEYS = MC_KEYS, ROWS = MC_ROWS, COLUMNS = 32, THREADS = 2 * ROWS;
constexpr int KEY_ROW = padded(KEYS), PAIR_ROW = padded(COLUMNS);

// Queries of ROWS tokens, normalisers of COLUMNS checkpoints, and least divisors, in shared memory.
struct Room {
  Real *queries, *normalizers, *least;
};
__device__ __forceinline__ Room take_room(Arena& arena) {
  Real* queries = arena.take<Real>(ROWS * KEY_ROW);
  Real* normalizers = arena.take<Real>(COLUMNS * KEY_ROW);
  return {queries, normalizers, arena.take<Real>(COLUMNS)};
}
__device__ __forceinline__ void load_queries(Room room, const Token* q, Cached sizes, int row,
                                             int head, int t) {
  load<ROWS, KEYS>(room.queries, KEY_ROW,
                   Matrix<const Token>{q + sizes.token(row, t, head) * sizes.keys,
                                       (long long)sizes.heads * sizes.keys, sizes.tokens - t,
                                       sizes.keys});
}
__device__ __forceinline__ void load_checkpoints(Room room, const Real* states, Cached sizes,
                                                 int row, int head, int column) {
  for (int n = threadIdx.x; n < COLUMNS * KEYS; n += THREADS) {
    int c = column + n / KEYS, k = n % KEYS;
    bool real = c < sizes.columns && k < sizes.keys;
    room.normalizers[n / KEYS * KEY_ROW + k] =
        real ? states[sizes.state(row, c, head) + (long long)k * (sizes.values + 1) + sizes.values]
             : Real(0);
  }
  for (int c = threadIdx.x; c < COLUMNS; c += THREADS)
    room.least[c] = column + c < sizes.columns
                        ? least_divisor(states[sizes.maximum(row, column + c, head)])
                        : Real(1);
}
typedef Tile<ROWS, COLUMNS, THREADS> Denominators;
__device__ __forceinline__ void denominators(Room room, Denominators& d) {
  d.clear();
  d.product([&](int t, int k) { return room.queries[t * KEY_ROW + k]; },
            [&](int k, int c) { return room.normalizers[c * KEY_ROW + k]; }, KEYS);
}

// Whether a token of the block sees any of the checkpoints; all threads ask alike, between barriers.
__device__ __forceinline__ bool any_seen(Sight sight, Cached sizes, int row, int t, int column) {
  for (int i = t; i < min(t + ROWS, sizes.tokens); ++i) {
    long long at = (long long)row * sizes.tokens + i;
    if (sight.first[at] < column + COLUMNS && column < sight.last[at]) return true;
  }
  return false;
}

// Weights (B, T, H, C), which are 0 at first; gates (B, T, H, C) or null. Blocks: tokens, heads, rows.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
mlstm_weights(const Token* q, const Real* states, const Real* gates, const int* first,
              const int* last, Real* weights, CACHED) {
  MC_ARENA(arena);
  Room room = take_room(arena);
  Cached sizes = {tokens, heads, keys, values, columns};
  Sight sight = {first, last};
  int row = blockIdx.z, head = blockIdx.y, t = blockIdx.x * ROWS;
  load_queries(room, q, sizes, row, head, t);
  for (int column = 0; column < columns; column += COLUMNS) {
    if (!any_seen(sight, sizes, row, t, column)) continue;
    load_checkpoints(room, states, sizes, row, head, column);
    __syncthreads();
    Denominators d;
    denominators(room, d);
    d.each([&](int i, int c, Real x) {
      if (!sight.sees(row, tokens, t + i, column + c)) return;
      long long at = sizes.token(row, t + i, head) * columns + column + c;
      weights[at] = (gates ? gates[at] : Real(1)) / (max(abs(x), room.least[c]) + EPS);
    });
    __syncthreads();
  }
}

struct Quotient {
  const Real *gates, *d_weights;
  // The gradient of a divisor before eps was added, given what it was and where its gate is.
  __device__ __forceinline__ Real d_divisor(Real divisor, long long at) const {
    Real weight = (gates ? gates[at] : Real(1)) / (divisor + EPS);
    return -d_weights[at] * weight / (divisor + EPS);
  }
};
__device__ __forceinline__ Real d_denominator(Real x, Real least, Real d_divisor) {
  return abs(x) <= least ? Real(0) : x > 0 ? d_divisor : -d_divisor;
}

// Adds to dq; gradients of gates (0 at first) where they are there.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
mlstm_weights_backward(const Token* q, const Real* states, const Real* gates,
                       const Real* d_weights, const int* first, const int* last, Token* dq,
                       Real* d_gates, CACHED) {
  MC_ARENA(arena);
  Room room = take_room(arena);
  Real* pairs = arena.take<Real>(ROWS * PAIR_ROW);
  Cached sizes = {tokens, heads, keys, values, columns};
  Sight sight = {first, last};
  Quotient quotient = {gates, d_weights};
  int row = blockIdx.z, head = blockIdx.y, t = blockIdx.x * ROWS;
  Tile<ROWS, KEYS, THREADS> sum;
  sum.clear();
  load_queries(room, q, sizes, row, head, t);
  for (int column = 0; column < columns; column += COLUMNS) {
    if (!any_seen(sight, sizes, row, t, column)) continue;
    load_checkpoints(room, states, sizes, row, head, column);
    __syncthreads();
    Denominators d;
    denominators(room, d);
    d.each([&](int i, int c, Real x) {
      pairs[i * PAIR_ROW + c] = 0;
      if (!sight.sees(row, tokens, t + i, column + c)) return;
      long long at = sizes.token(row, t + i, head) * columns + column + c;
      Real divisor = max(abs(x), room.least[c]);
      if (d_gates) d_gates[at] = d_weights[at] / (divisor + EPS);
      pairs[i * PAIR_ROW + c] = d_denominator(x, room.least[c], quotient.d_divisor(divisor, at));
    });
    __syncthreads();
    sum.product([&](int i, int c) { return pairs[i * PAIR_ROW + c]; },
                [&](int c, int k) { return room.normalizers[c * KEY_ROW + k]; }, COLUMNS);
    __syncthreads();
  }
  sum.each([&](int i, int k, Real x) {
    if (t + i >= tokens || k >= keys) return;
    Token& to = dq[sizes.token(row, t + i, head) * keys + k];
    to = Token(Real(to) + x);
  });
}

// Gradients of n and m into those of checkpoints. Blocks: checkpoints, heads, rows.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
mlstm_states_backward(const Token* q, const Real* states, const Real* gates, const Real* d_weights,
                      const int* first, const int* last, Real* d_states, CACHED) {
  MC_ARENA(arena);
  Room room = take_room(arena);
  Real *pairs = arena.take<Real>(ROWS * PAIR_ROW), *floored = arena.take<Real>(ROWS * PAIR_ROW);
  Cached sizes = {tokens, heads, keys, values, columns};
  Sight sight = {first, last};
  Quotient quotient = {gates, d_weights};
  int row = blockIdx.z, head = blockIdx.y, column = blockIdx.x * COLUMNS;
  Tile<COLUMNS, KEYS, THREADS> sum;
  sum.clear();
  Real of_least = 0;  // of checkpoint threadIdx.x
  load_checkpoints(room, states, sizes, row, head, column);
  for (int t = 0; t < tokens; t += ROWS) {
    if (!any_seen(sight, sizes, row, t, column)) continue;
    __syncthreads();
    load_queries(room, q, sizes, row, head, t);
    __syncthreads();
    Denominators d;
    denominators(room, d);
    d.each([&](int i, int c, Real x) {
      int place = i * PAIR_ROW + c;
      pairs[place] = floored[place] = 0;
      if (!sight.sees(row, tokens, t + i, column + c)) return;
      Real least = room.least[c];
      long long at = sizes.token(row, t + i, head) * columns + column + c;
      Real d_divisor = quotient.d_divisor(max(abs(x), least), at);
      pairs[place] = d_denominator(x, least, d_divisor);
      if (abs(x) <= least) floored[place] = d_divisor;
    });
    __syncthreads();
    sum.product([&](int c, int i) { return pairs[i * PAIR_ROW + c]; },
                [&](int i, int k) { return room.queries[i * KEY_ROW + k]; }, ROWS);
    for (int i = 0; threadIdx.x < COLUMNS && i < ROWS; ++i)
      of_least += floored[i * PAIR_ROW + threadIdx.x];
  }
  sum.each([&](int c, int k, Real x) {
    if (column + c < columns && k < keys)
      d_states[sizes.state(row, column + c, head) + (long long)k * (values + 1) + values] = x;
  });
  int c = threadIdx.x;
  if (c >= COLUMNS || column + c >= columns) return;
  long long at = sizes.maximum(row, column + c, head);
  d_states[at] = states[at] > -STEEPEST ? -room.least[c] * of_least : Real(0);
}
