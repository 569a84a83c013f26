// Reads of a routed layer whose tokens read their best few checkpoints: backends/cupy_gpu/sparse_read.py.
//
// Each checkpoint answers all of its readers, gathered; the answers of a token's choices are put
// together afterwards, in the order of its choices.
#include "choice.cuh"
#include "grouping.cuh"
#include "reduce.cuh"
#include "states_backward.cuh"

// A part of a column's readers, which a block answers.
struct Part {
  int column, from, to;
};

// The block's part; column -1 if there are not so many.
__device__ __forceinline__ Part part_of_block(const int* offsets, const int* parts, int heads,
                                              int columns, int part) {
  int place = (blockIdx.z * heads + blockIdx.y) * (columns + 1), wanted = blockIdx.x;
  const int *offset = offsets + place, *first_part = parts + place;
  if (wanted >= first_part[columns]) return {-1, 0, 0};
  int low = 0, high = columns;  // first_part[low] <= wanted < first_part[high]
  while (high - low > 1) {
    int middle = (low + high) / 2;
    if (first_part[middle] <= wanted) low = middle; else high = middle;
  }
  int from = offset[low] + (wanted - first_part[low]) * part;
  return {low, from, min(from + part, offset[low + 1])};
}

// answers (B, T, H, k, V): S^T q of every choice.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    answer_readers(const Token* q, const Real* cached_states, const Real* own_states,
                   const int* entries, const int* offsets, const int* parts, Real* answers,
                   int tokens, int heads, int keys, int values, int cached_count, int own_count,
                   int size, int stride, int columns, int top_k, int part) {
  MC_ARENA(arena);
  Real* query = arena.take<Real>(ROWS * KEY_ROW);
  Real* state = arena.take<Real>(SLAB * PRODUCT_ROW);
  Part mine = part_of_block(offsets, parts, heads, columns, part);
  if (mine.column < 0) return;
  Memories memories = {{cached_states, own_states, cached_count, own_count, heads, size},
                       stride, keys, values, 0};
  Rows place = rows_from(0, tokens, heads);
  for (int from = mine.from; from < mine.to; from += ROWS) {
    Readers readers = readers_from(entries, from, mine.to, top_k, tokens, heads);
    gather<KEYS>(query, KEY_ROW, q, readers, keys);
    Tile<ROWS, VALUES, THREADS> out;
    out.clear();
    for (int slab = 0; slab < SLABS; ++slab) {
      if (SLABS > 1 || from == mine.from)
        memories.load_slab(state, PRODUCT_ROW, place, mine.column, slab);
      __syncthreads();
      const Real* left = query + slab * SLAB;
      if (readers.busy())
        out.product([&](int i, int k) { return left[i * KEY_ROW + k]; },
                    [&](int k, int v) { return state[k * PRODUCT_ROW + v]; }, SLAB);
      __syncthreads();
    }
    out.each([&](int i, int v, Real& x) {
      if (i < readers.count && v < values) answers[readers.choice(i) * values + v] = x;
    });
  }
}

// y of each token: the online answer and those of its choices, weighted, one after the other.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    combine_answers(const Token* reads, const Real* answers, const int* chosen, const Real* gates,
                    const Real* online_gate, Token* y, int tokens, int heads, int values,
                    int top_k) {
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  for (int at = threadIdx.x; at < rows.count * values; at += THREADS) {
    long long token = rows.scalar(at / values), place = token * values + at % values;
    Real sum = online_gate[token] * Real(reads[place]);
    for (int slot = 0; slot < top_k; ++slot) {
      long long choice = token * top_k + slot;
      if (chosen[choice] >= 0) sum += gates[choice] * answers[choice * values + at % values];
    }
    y[place] = Token(sum);
  }
}

// Of every choice: d_gates (B, T, H, k) = q . (S dy), and what it adds to dq (B, T, H, k, K).
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    readers_backward(const Token* q, const Token* dy, const Real* cached_states,
                     const Real* own_states, const int* entries, const int* offsets,
                     const int* parts, const Real* gates, Real* d_gates, Real* d_queries, int tokens,
                     int heads, int keys, int values, int cached_count, int own_count, int size,
                     int stride, int columns, int top_k, int part) {
  MC_ARENA(arena);
  Real* query = arena.take<Real>(ROWS * KEY_ROW);
  Real* d_answer = arena.take<Real>(ROWS * VALUE_ROW);
  Real* state = arena.take<Real>(SLAB * VALUE_ROW);
  Part mine = part_of_block(offsets, parts, heads, columns, part);
  if (mine.column < 0) return;
  Memories memories = {{cached_states, own_states, cached_count, own_count, heads, size},
                       stride, keys, values, 0};
  Rows place = rows_from(0, tokens, heads);
  for (int from = mine.from; from < mine.to; from += ROWS) {
    Readers readers = readers_from(entries, from, mine.to, top_k, tokens, heads);
    gather<KEYS>(query, KEY_ROW, q, readers, keys);
    gather<VALUES>(d_answer, VALUE_ROW, dy, readers, values);
    Real used[2] = {0, 0};
    for (int slab = 0; slab < SLABS; ++slab) {
      if (SLABS > 1 || from == mine.from)
        memories.load_slab(state, VALUE_ROW, place, mine.column, slab);
      __syncthreads();
      Tile<ROWS, SLAB, THREADS> back;
      back.clear();
      if (readers.busy())
        back.product([&](int i, int v) { return d_answer[i * VALUE_ROW + v]; },
                     [&](int v, int k) { return state[k * VALUE_ROW + v]; }, VALUES);
      back.each([&](int i, int k, Real& x) {
        k += slab * SLAB;
        used[i >> 3 & 1] += x * query[i * KEY_ROW + k];
        if (i >= readers.count || k >= keys) return;
        long long choice = readers.choice(i);
        d_queries[choice * keys + k] = gates[choice] * x;
      });
      __syncthreads();
    }
    for (int half = 0; half < 2; ++half) {
      Real whole = row_sum(used[half]);
      int i = upper_row() + 8 * half;
      if (leads_row() && i < readers.count) d_gates[readers.choice(i)] = whole;
    }
  }
}

// Gradients of gates become those of logits, 1/sqrt(K) included; dq and du, less what comes through
// the online memory; what flows into its logit and answer.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    choices_backward(const Token* reads, const Token* dy, const Real* cached, const Real* own,
                     const int* chosen, const Real* gates, const Real* online_gate,
                     const Real* d_queries, Real* d_gates, Token* dq, Token* du, Token* d_reads,
                     Real* d_online, int tokens, int heads, int keys, int values, int cached_count,
                     int own_count, int top_k, int outside) {
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  Columns<const Real> contexts = {cached, own, cached_count, own_count, heads, keys};
  Real scale = Real(1) / sqrt(Real(keys));
  int lane = threadIdx.x & 31;
  for (int i = threadIdx.x >> 5; i < rows.count; i += THREADS / 32) {
    long long token = rows.scalar(i), first = token * top_k;
    Real gate = online_gate[token], d_gate = 0;
    for (int v = lane; v < values; v += 32) {
      Real d = Real(dy[token * values + v]);
      d_gate += d * Real(reads[token * values + v]);
      d_reads[token * values + v] = Token(gate * d);
    }
    d_gate = warp_sum(d_gate);
    Real mean = outside ? Real(0) : gate * d_gate;
    for (int slot = 0; slot < top_k; ++slot)
      if (chosen[first + slot] >= 0) mean += gates[first + slot] * d_gates[first + slot];
    for (int k = lane; k < keys; k += 32) {
      Real query = 0, chooser = 0;
      for (int slot = 0; slot < top_k; ++slot) {
        if (chosen[first + slot] < 0) continue;
        Real d_logit = gates[first + slot] * (d_gates[first + slot] - mean) * scale;
        query += d_queries[(first + slot) * keys + k];
        chooser += d_logit * contexts.at(rows.b, chosen[first + slot], rows.h)[k];
      }
      dq[token * keys + k] = Token(query);
      du[token * keys + k] = Token(chooser);
    }
    __syncwarp();
    for (int slot = lane; slot < top_k; slot += 32)
      if (chosen[first + slot] >= 0)
        d_gates[first + slot] = gates[first + slot] * (d_gates[first + slot] - mean) * scale;
    if (lane == 0) d_online[token] = outside ? Real(0) : gate * (d_gate - mean) * scale;
  }
}

// The gradients of one checkpoint and of its context a block, from all of its readers; adds to both.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    chosen_backward(const Token* q, const Token* u, const Token* dy, const int* entries,
                    const int* offsets, const Real* gates, const Real* d_logits,
                    Real* d_cached_states, Real* d_own_states, Real* d_cached, Real* d_own,
                    int tokens, int heads, int keys, int values, int cached_count, int own_count,
                    int size, int stride, int columns, int top_k) {
  MC_ARENA(arena);
  StateRoom room = state_room(arena, false);
  Real* chooser = arena.take<Real>(ROWS * LEFT_ROW);
  Real* d_logit = arena.take<Real>(ROWS);
  Real* d_context = arena.take<Real>(KEYS);
  int column = blockIdx.x, b = blockIdx.z, h = blockIdx.y;
  const int* offset = offsets + (b * heads + h) * (columns + 1) + column;
  for (int k = threadIdx.x; k < KEYS; k += THREADS) d_context[k] = 0;
  StateTile d_state;
  d_state.clear();
  for (int from = offset[0]; from < offset[1]; from += ROWS) {
    Readers readers = readers_from(entries, from, offset[1], top_k, tokens, heads);
    gather<KEYS>(room.q, LEFT_ROW, q, readers, keys);
    gather<KEYS>(chooser, LEFT_ROW, u, readers, keys);
    gather<VALUES>(room.dy, PRODUCT_ROW, dy, readers, values);
    for (int i = threadIdx.x; i < ROWS; i += THREADS) {
      room.weights[i] = i < readers.count ? gates[readers.choice(i)] : Real(0);
      d_logit[i] = i < readers.count ? d_logits[readers.choice(i)] : Real(0);
    }
    __syncthreads();
    add_rows(chooser, LEFT_ROW, d_logit, d_context, readers.count);
    add_outer(d_state, room, readers.count);
    __syncthreads();
  }
  Columns<Real> states = {d_cached_states, d_own_states, cached_count, own_count, heads, size};
  Columns<Real> out = {d_cached, d_own, cached_count, own_count, heads, keys};
  store_state(d_state, states.at(b, column, h), {{}, stride, keys, values, 0});
  for (int k = threadIdx.x; k < keys; k += THREADS) out.at(b, column, h)[k] += d_context[k];
}
