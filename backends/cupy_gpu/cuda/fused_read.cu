// Gates and reads of a routed layer in one pass: see backends/cupy_gpu/fused.py.
//
//   y_t = g_t o_t + sum_i w_ti S_i^T q_t          g_t the online memory's gate, o_t its answer
#include "answers.cuh"
#include "gates.cuh"
#include "reduce.cuh"
#include "states_backward.cuh"

// The softmax of each token over all that it sees: peak, share, and the online memory's gate.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    gate_sums(const Token* u, const Real* cached, const Real* own, const Real* online,
              const int* first, const int* last, Real* peak, Real* share, Real* online_gate,
              int tokens, int heads, int keys, int cached_count, int own_count, int outside) {
  MC_ARENA(arena);
  int* sight = arena.take<int>(2 * ROWS);
  Real* query = arena.take<Real>(ROWS * KEY_ROW);
  Real* tile = arena.take<Real>(COLUMNS * KEY_ROW);
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  Columns<const Real> contexts = {cached, own, cached_count, own_count, heads, keys};
  Real scale = Real(1) / sqrt(Real(keys));
  load_sight(sight, first, last, rows);
  load<ROWS, KEYS>(query, KEY_ROW, rows.of(u, keys));
  __syncthreads();
  Sight seen = sight_of(sight);
  Sums sums;
  for (int half = 0; half < 2; ++half) {
    int i = upper_row() + 8 * half;
    sums.start(half, i < rows.count ? online[rows.scalar(i)] : Real(0), outside);
  }
  for (int column = seen.low; column < seen.high; column += COLUMNS) {
    __syncthreads();
    load_vectors(tile, contexts, rows, column, min(COLUMNS, seen.high - column), keys);
    __syncthreads();
    Pairs logits = products(query, tile, rows.busy());
    logits.each([&](int i, int c, Real& x) {
      x = seen.sees(i, column + c) ? x * scale : Real(LOWEST);
    });
    sums.add(logits);
  }
  for (int half = 0; half < 2; ++half) {
    int i = upper_row() + 8 * half;
    if (!leads_row() || i >= rows.count) continue;
    long long at = rows.scalar(i);
    Real part = sums.total[half] > 0 ? Real(1) / sums.total[half] : Real(0);
    peak[at] = sums.top[half];
    share[at] = part;
    online_gate[at] = outside ? Real(1) : exp(online[at] - sums.top[half]) * part;
  }
}

// y; and `others`, that without the online memory's part, where it is wanted.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    fused_read(const Token* q, const Token* u, const Token* reads, const Real* cached_states,
               const Real* own_states, const Real* cached, const Real* own, const int* first,
               const int* last, const Real* peak, const Real* share, const Real* online_gate,
               Token* y, Token* others, int tokens, int heads, int keys, int values,
               int cached_count, int own_count, int size, int stride, int divided) {
  MC_ARENA(arena);
  int* sight = arena.take<int>(2 * ROWS);
  Real* query = arena.take<Real>(ROWS * KEY_ROW);
  Real* chooser = arena.take<Real>(ROWS * KEY_ROW);
  Real* tile = arena.take<Real>(COLUMNS * KEY_ROW);
  Real* kept = arena.take<Real>(2 * ROWS);
  AnswerRoom room = answer_room(arena, divided);
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  Columns<const Real> contexts = {cached, own, cached_count, own_count, heads, keys};
  Memories memories = {{cached_states, own_states, cached_count, own_count, heads, size},
                       stride, keys, values, divided};
  load_sight(sight, first, last, rows);
  load_scalars(kept, peak, rows);
  load_scalars(kept + ROWS, share, rows);
  load<ROWS, KEYS>(query, KEY_ROW, rows.of(q, keys));
  load<ROWS, KEYS>(chooser, KEY_ROW, rows.of(u, keys));
  __syncthreads();
  Sight seen = sight_of(sight);
  SoftmaxGates gates = {{kept, kept + ROWS}, rows, seen, contexts, chooser, tile, keys};
  Answers out;
  out.clear();
  add_answers(rows, seen, memories, query, gates, room, out);
  out.each([&](int i, int v, Real& x) {
    if (i >= rows.count || v >= values) return;
    long long at = rows.scalar(i);
    if (others) others[at * values + v] = Token(x);
    y[at * values + v] = Token(x + online_gate[at] * Real(reads[at * values + v]));
  });
}

// Of each token: mean_t = dy_t . softened_t, which is the sum of w_ti dw_ti over all that the softmax
// runs over, as `softened` is what it weighs; and what flows into the online memory's logit and answer.
__device__ __forceinline__ void online_backward(Rows rows, const Token* softened, const Token* reads,
                                                const Token* dy, const Real* online_gate, Real* mean,
                                                Real* d_online, Token* d_reads, int values,
                                                int outside, Real scale) {
  int lane = threadIdx.x & 31;
  for (int i = threadIdx.x >> 5; i < rows.count; i += THREADS / 32) {
    long long at = rows.scalar(i), from = at * values;
    Real gate = online_gate[at], whole = 0, own = 0;
    for (int v = lane; v < values; v += 32) {
      Real d = Real(dy[from + v]);
      whole += d * Real(softened[from + v]);
      own += d * Real(reads[from + v]);
      d_reads[from + v] = Token(gate * d);
    }
    whole = warp_sum(whole);
    own = warp_sum(own);
    if (lane == 0) {
      mean[at] = whole;
      d_online[at] = outside ? Real(0) : gate * (own - whole) * scale;
    }
  }
}

// dq and du, less what comes through the online memory; its logits' gradient, 1/sqrt(K) included.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    fused_queries_backward(const Token* q, const Token* u, const Token* reads,
                           const Real* cached_states, const Real* own_states, const Real* cached,
                           const Real* own, const int* first, const int* last, const Real* peak,
                           const Real* share, const Real* online_gate, const Token* softened,
                           const Token* dy, Token* dq, Token* du, Token* d_reads, Real* mean,
                           Real* d_online, int tokens, int heads, int keys, int values,
                           int cached_count, int own_count, int size, int stride, int divided,
                           int outside) {
  MC_ARENA(arena);
  int* sight = arena.take<int>(2 * ROWS);
  Real* query = arena.take<Real>(ROWS * KEY_ROW);
  Real* chooser = arena.take<Real>(ROWS * KEY_ROW);
  Real* tile = arena.take<Real>(COLUMNS * KEY_ROW);
  Real* kept = arena.take<Real>(3 * ROWS);
  Real* d_answer = arena.take<Real>(ROWS * VALUE_ROW);
  BackwardRoom room = backward_room(arena, divided);
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  Columns<const Real> contexts = {cached, own, cached_count, own_count, heads, keys};
  Memories memories = {{cached_states, own_states, cached_count, own_count, heads, size},
                       stride, keys, values, divided};
  Real scale = Real(1) / sqrt(Real(keys));
  online_backward(rows, softened, reads, dy, online_gate, mean, d_online, d_reads, values, outside, scale);
  load_sight(sight, first, last, rows);
  load_scalars(kept, peak, rows);
  load_scalars(kept + ROWS, share, rows);
  load<ROWS, KEYS>(query, KEY_ROW, rows.of(q, keys));
  load<ROWS, KEYS>(chooser, KEY_ROW, rows.of(u, keys));
  load<ROWS, VALUES>(d_answer, VALUE_ROW, rows.of(dy, values));
  __syncthreads();
  load_scalars(kept + 2 * ROWS, mean, rows);
  Sight seen = sight_of(sight);
  SoftmaxGates gates = {{kept, kept + ROWS}, rows, seen, contexts, chooser, tile, keys};
  Queries out[SLABS], out_u[SLABS];
  for (int slab = 0; slab < SLABS; ++slab) {
    out[slab].clear();
    out_u[slab].clear();
  }
  auto use = [&](int, int, Real* weights, Real* d_weights) {
    for (int at = threadIdx.x; at < ROWS * COLUMNS; at += THREADS) {
      int i = at / COLUMNS, place = i * PAIR_ROW + at % COLUMNS;
      d_weights[place] = weights[place] * (d_weights[place] - kept[2 * ROWS + i]) * scale;
    }
    __syncthreads();
#pragma unroll
    for (int slab = 0; slab < SLABS; ++slab)
      if (rows.busy())
        out_u[slab].product([&](int i, int c) { return d_weights[i * PAIR_ROW + c]; },
                            [&](int c, int k) { return tile[c * KEY_ROW + slab * SLAB + k]; },
                            COLUMNS);
  };
  answers_backward(rows, seen, memories, query, d_answer, gates, use, room, out);
  store_queries(rows, out, dq, keys);
  store_queries(rows, out_u, du, keys);
}

// The gradients of one checkpoint and of its context a block; adds to both.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    fused_states_backward(const Token* q, const Token* u, const Real* cached_states,
                          const Real* own_states, const Real* cached, const Real* own,
                          const int* first, const int* last, const int* begin, const int* end,
                          const Real* peak, const Real* share, const Real* mean, const Token* dy,
                          Real* d_cached_states, Real* d_own_states, Real* d_cached, Real* d_own,
                          int tokens, int heads, int keys, int values, int cached_count,
                          int own_count, int size, int stride, int divided) {
  MC_ARENA(arena);
  StateRoom room = state_room(arena, true);
  Real* chooser = arena.take<Real>(ROWS * LEFT_ROW);
  Real* logits = arena.take<Real>(ROWS);
  Real* d_context = arena.take<Real>(KEYS);
  int column = blockIdx.x, b = blockIdx.z, h = blockIdx.y;
  int place = b * int(gridDim.x) + column, since = begin[place], until = end[place];
  Columns<const Real> contexts = {cached, own, cached_count, own_count, heads, keys};
  Memories memories = {{cached_states, own_states, cached_count, own_count, heads, size},
                       stride, keys, values, divided};
  Real *normalizer = room.vectors, *context = room.vectors + KEYS, scale = Real(1) / sqrt(Real(keys));
  for (int k = threadIdx.x; k < KEYS; k += THREADS) {
    bool real = k < keys;
    normalizer[k] = divided && real ? memories.of.at(b, column, h)[k * stride + values] : Real(0);
    context[k] = real ? contexts.at(b, column, h)[k] : Real(0);
    d_context[k] = room.d_vector[k] = 0;
  }
  StateTile d_state;
  d_state.clear();
  for (int from = since; from < until; from += ROWS) {
    Rows rows = rows_from(from, tokens, heads);
    load_sight(room.sight, first, last, rows);
    load<ROWS, KEYS>(room.q, LEFT_ROW, rows.of(q, keys));
    load<ROWS, KEYS>(chooser, LEFT_ROW, rows.of(u, keys));
    load<ROWS, VALUES>(room.dy, PRODUCT_ROW, rows.of(dy, values));
    __syncthreads();
    Sight seen = {room.sight, room.sight + ROWS, 0, 0};
    dot_rows(chooser, LEFT_ROW, context, logits, rows.busy());
    if (divided) dot_rows(room.q, LEFT_ROW, normalizer, room.divisors, rows.busy());
    __syncthreads();
    for (int i = threadIdx.x; i < ROWS; i += THREADS) {
      bool sees = seen.sees(i, column);
      long long at = rows.scalar(i);
      Real divisor = sees && divided ? room.divisors[i] + EPS : Real(1);
      Real gate = sees ? exp(logits[i] * scale - peak[at]) * share[at] : Real(0);
      room.divisors[i] = divisor;
      room.weights[i] = gate / divisor;
    }
    __syncthreads();
    weights_backward(rows, memories, column, from > since, room);
    __syncthreads();
    for (int i = threadIdx.x; i < ROWS; i += THREADS) {
      Real divided_gate = room.weights[i], gate = divided_gate * room.divisors[i];
      Real d_gate = room.d_weights[i] / room.divisors[i];
      room.d_weights[i] = gate == 0 ? Real(0) : gate * (d_gate - mean[rows.scalar(i)]) * scale;
      room.divisors[i] = -d_gate * divided_gate;
    }
    __syncthreads();
    add_rows(chooser, LEFT_ROW, room.d_weights, d_context, rows.count);
    if (divided) add_rows(room.q, LEFT_ROW, room.divisors, room.d_vector, rows.count);
    add_outer(d_state, room, rows.count);
    __syncthreads();
  }
  Columns<Real> states = {d_cached_states, d_own_states, cached_count, own_count, heads, size};
  Columns<Real> out = {d_cached, d_own, cached_count, own_count, heads, keys};
  store_state(d_state, states.at(b, column, h), memories);
  for (int k = threadIdx.x; k < keys; k += THREADS) {
    out.at(b, column, h)[k] += d_context[k];
    if (divided) states.at(b, column, h)[k * stride + values] += room.d_vector[k];
  }
}
