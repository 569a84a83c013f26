// The best few columns of each token of a block, best first; of equal logits the lower column.
#pragma once
#include "columns.cuh"

// Lists of top_k logits and columns for each token, in shared memory.
struct Lists {
  Real* logit;
  int* column;
  int top_k;
  // Puts a column where it belongs; columns come in ascending order.
  __device__ __forceinline__ void insert(int i, Real logit_of, int c) {
    Real* logits = logit + i * top_k;
    int *columns = column + i * top_k, slot = top_k;
    while (slot > 0 && (columns[slot - 1] < 0 || logit_of > logits[slot - 1])) {
      --slot;
      if (slot + 1 < top_k) {
        logits[slot + 1] = logits[slot];
        columns[slot + 1] = columns[slot];
      }
    }
    if (slot == top_k) return;
    logits[slot] = logit_of;
    columns[slot] = c;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    choose(const Token* u, const Real* cached, const Real* own, const Real* online, const int* first,
           const int* last, int* chosen, Real* gates, Real* online_gate, int tokens, int heads,
           int keys, int cached_count, int own_count, int top_k, int outside) {
  MC_ARENA(arena);
  int* sight = arena.take<int>(2 * ROWS);
  Real* query = arena.take<Real>(ROWS * KEY_ROW);
  Real* tile = arena.take<Real>(COLUMNS * KEY_ROW);
  Real* logits = arena.take<Real>(ROWS * PAIR_ROW);
  Real* best = arena.take<Real>(ROWS * top_k);
  Lists lists = {best, arena.take<int>(ROWS * top_k), top_k};
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  Columns<const Real> contexts = {cached, own, cached_count, own_count, heads, keys};
  Real scale = Real(1) / sqrt(Real(keys));
  load_sight(sight, first, last, rows);
  load<ROWS, KEYS>(query, KEY_ROW, rows.of(u, keys));
  for (int at = threadIdx.x; at < ROWS * top_k; at += THREADS) lists.column[at] = -1;
  __syncthreads();
  Sight seen = sight_of(sight);
  int i = threadIdx.x;
  for (int column = seen.low; column < seen.high; column += COLUMNS) {
    int n = min(COLUMNS, seen.high - column);
    load_vectors(tile, contexts, rows, column, n, keys);
    __syncthreads();
    products(query, tile, rows.busy()).each([&](int i, int c, Real& x) {
      logits[i * PAIR_ROW + c] = x * scale;
    });
    __syncthreads();
    for (int c = 0; c < n && i < rows.count; ++c)
      if (seen.sees(i, column + c)) lists.insert(i, logits[i * PAIR_ROW + c], column + c);
  }
  if (i >= rows.count) return;
  long long at = rows.scalar(i);
  Real top = outside ? Real(LOWEST) : online[at], total = 0;
  const Real* mine = lists.logit + i * top_k;
  int count = 0;
  while (count < top_k && lists.column[i * top_k + count] >= 0) ++count;
  if (count) top = max(top, mine[0]);
  for (int slot = 0; slot < count; ++slot) total += exp(mine[slot] - top);
  Real own_part = outside ? Real(0) : exp(online[at] - top);
  Real share = total + own_part > 0 ? Real(1) / (total + own_part) : Real(0);
  for (int slot = 0; slot < top_k; ++slot) {
    chosen[at * top_k + slot] = lists.column[i * top_k + slot];
    gates[at * top_k + slot] = slot < count ? exp(mine[slot] - top) * share : Real(0);
  }
  online_gate[at] = outside ? Real(1) : own_part * share;
}
