// Routing with gates as an array (B, T, H, C + 1): see backends/numpy_ref/route.py for what is meant.
#include "columns.cuh"
#include "lots.cuh"
#include "pool.cuh"

// What the softmax of a token runs over.
struct Law {
  int columns, top_k, outside, by_lot;
  Lot seed;
};

__device__ __forceinline__ Law law_of(int columns, int top_k, int outside, int by_lot, int seed_high,
                                      int seed_low) {
  return {columns, top_k, outside, by_lot, Lot(unsigned(seed_high)) << 32 | Lot(unsigned(seed_low))};
}

// Logits of the block's tokens, where they see, into their rows of `gates`.
__device__ __forceinline__ void store_logits(Rows rows, Sight seen, Columns<const Real> contexts,
                                             const Real* u, Real* tile, int width, Real* gates,
                                             int columns) {
  Real scale = Real(1) / sqrt(Real(width));
  for (int column = seen.low; column < seen.high; column += COLUMNS) {
    __syncthreads();
    load_vectors(tile, contexts, rows, column, min(COLUMNS, seen.high - column), width);
    __syncthreads();
    products(u, tile, rows.busy()).each([&](int i, int c, Real& x) {
      if (seen.sees(i, column + c))
        gates[rows.scalar(i) * (columns + 1) + column + c] = x * scale;
    });
  }
}

// Logits of one token become gates; by a whole warp, which sees columns first <= c < last.
__device__ __forceinline__ void softmax_row(Real* row, int first, int last, Real online, Law law,
                                            int place, int head) {
  int lane = threadIdx.x & 31;
  Ranked<Real> least = {Real(0), law.columns};
  Ranked<Lot> least_lot = {0, law.columns};
  bool selects = 0 < law.top_k && law.top_k < last - first;
  auto drawn = [&](int c) { return lot(law.seed, place, head, c - first); };
  auto logit = [&](int c) { return row[c]; };
  if (selects && law.by_lot) least_lot = last_chosen<Lot>(drawn, first, last, law.top_k);
  if (selects && !law.by_lot) least = last_chosen<Real>(logit, first, last, law.top_k);
  auto chosen = [&](int c) {
    if (c < first || c >= last) return false;
    if (!selects) return true;
    return law.by_lot ? !least_lot.before({drawn(c), c}) : !least.before({row[c], c});
  };
  Real top = law.outside ? Real(LOWEST) : online, total = 0;
  for (int c = lane; c < law.columns; c += 32)
    if (chosen(c)) top = max(top, row[c]);
  top = warp_max(top);
  for (int c = lane; c < law.columns; c += 32) total += chosen(c) ? exp(row[c] - top) : Real(0);
  total = warp_sum(total);
  Real own = law.outside ? Real(0) : exp(online - top), share = total + own;
  share = share > 0 ? Real(1) / share : Real(0);
  for (int c = lane; c < law.columns; c += 32) {
    Real gate = chosen(c) ? exp(row[c] - top) * share : Real(0);
    row[c] = gate;
  }
  if (lane == 0) row[law.columns] = law.outside ? Real(1) : own * share;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    route_gates(const Token* u, const Real* cached, const Real* own, const Real* online,
                const int* first, const int* last, const int* place, Real* gates, int tokens,
                int heads, int width, int cached_count, int own_count, int columns, int top_k,
                int outside, int by_lot, int seed_high, int seed_low) {
  MC_ARENA(arena);
  int* sight = arena.take<int>(2 * ROWS);
  Real* query = arena.take<Real>(ROWS * KEY_ROW);
  Real* tile = arena.take<Real>(COLUMNS * KEY_ROW);
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  Columns<const Real> contexts = {cached, own, cached_count, own_count, heads, width};
  Law law = law_of(columns, top_k, outside, by_lot, seed_high, seed_low);
  load_sight(sight, first, last, rows);
  load<ROWS, KEYS>(query, KEY_ROW, rows.of(u, width));
  __syncthreads();
  Sight seen = sight_of(sight);
  store_logits(rows, seen, contexts, query, tile, width, gates, columns);
  __syncthreads();
  for (int i = threadIdx.x >> 5; i < rows.count; i += THREADS / 32) {
    int where = by_lot ? place[static_cast<long long>(rows.b) * tokens + rows.begin + i] : 0;
    softmax_row(gates + rows.scalar(i) * (columns + 1), seen.first[i], seen.last[i],
                online[rows.scalar(i)], law, where, rows.h);
  }
}

// Gradients of logits, 1/sqrt(K) included, into d_logits (B, T, H, C) and d_online; and du, less what
// comes through the online logits.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    route_gates_backward(const Real* cached, const Real* own, const int* first, const int* last,
                         const Real* gates, const Real* d_gates, Real* d_logits, Real* d_online,
                         Token* du, int tokens, int heads, int width, int cached_count,
                         int own_count, int columns, int outside) {
  MC_ARENA(arena);
  int* sight = arena.take<int>(2 * ROWS);
  Real* pairs = arena.take<Real>(ROWS * PAIR_ROW);
  Real* tile = arena.take<Real>(COLUMNS * KEY_ROW);
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  Columns<const Real> contexts = {cached, own, cached_count, own_count, heads, width};
  Real scale = Real(1) / sqrt(Real(width));
  int lane = threadIdx.x & 31;
  for (int i = threadIdx.x >> 5; i < rows.count; i += THREADS / 32) {
    const Real *gate = gates + rows.scalar(i) * (columns + 1);
    const Real *d_gate = d_gates + rows.scalar(i) * (columns + 1);
    Real mean = 0;
    for (int c = lane; c < columns + 1 - outside; c += 32)
      mean += gate[c] == 0 ? Real(0) : gate[c] * d_gate[c];
    mean = warp_sum(mean);
    for (int c = lane; c < columns; c += 32)
      d_logits[rows.scalar(i) * columns + c] =
          gate[c] == 0 ? Real(0) : gate[c] * (d_gate[c] - mean) * scale;
    if (lane == 0)
      d_online[rows.scalar(i)] =
          outside ? Real(0) : gate[columns] * (d_gate[columns] - mean) * scale;
  }
  load_sight(sight, first, last, rows);
  __syncthreads();
  Sight seen = sight_of(sight);
  Tile<ROWS, KEYS, THREADS> out;
  out.clear();
  for (int column = seen.low; column < seen.high; column += COLUMNS) {
    int n = min(COLUMNS, seen.high - column);
    load<ROWS, COLUMNS>(pairs, PAIR_ROW, Matrix<const Real>{
        d_logits + rows.scalar(0) * columns + column, static_cast<long long>(heads) * columns,
        rows.count, n});
    load_vectors(tile, contexts, rows, column, n, width);
    __syncthreads();
    if (rows.busy())
      out.product([&](int i, int c) { return pairs[i * PAIR_ROW + c]; },
                  [&](int c, int k) { return tile[c * KEY_ROW + k]; }, COLUMNS);
    __syncthreads();
  }
  out.each([&](int i, int k, Real& x) {
    if (i < rows.count && k < width) du[rows.scalar(i) * width + k] = Token(x);
  });
}

// Adds to the gradients of the contexts what comes through the logits, COLUMNS of them a block.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    route_contexts_backward(const Token* u, const Real* d_logits, const int* begin, const int* end,
                            Real* d_cached, Real* d_own, int tokens, int heads, int width,
                            int cached_count, int own_count, int columns) {
  MC_ARENA(arena);
  Real* query = arena.take<Real>(ROWS * KEY_ROW);
  Real* pairs = arena.take<Real>(ROWS * PAIR_ROW);
  int column = blockIdx.x * COLUMNS, b = blockIdx.z, h = blockIdx.y;
  int n = min(COLUMNS, columns - column), low = tokens, high = 0;
  for (int c = column; c < column + n; ++c) {
    low = min(low, begin[b * columns + c]);
    high = max(high, end[b * columns + c]);
  }
  Tile<COLUMNS, KEYS, THREADS> out;
  out.clear();
  for (int from = low; from < high; from += ROWS) {
    Rows rows = rows_from(from, tokens, heads);
    load<ROWS, KEYS>(query, KEY_ROW, rows.of(u, width));
    load<ROWS, COLUMNS>(pairs, PAIR_ROW, Matrix<const Real>{
        d_logits + rows.scalar(0) * columns + column, static_cast<long long>(heads) * columns,
        rows.count, n});
    __syncthreads();
    out.product([&](int c, int i) { return pairs[i * PAIR_ROW + c]; },
                [&](int i, int k) { return query[i * KEY_ROW + k]; }, up(rows.count, 8));
    __syncthreads();
  }
  Columns<Real> contexts = {d_cached, d_own, cached_count, own_count, heads, width};
  out.each([&](int c, int k, Real& x) {
    if (c < n && k < width) contexts.at(b, column + c, h)[k] += x;
  });
}
