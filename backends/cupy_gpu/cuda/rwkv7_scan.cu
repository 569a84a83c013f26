// RWKV-7: decays per channel, and what a removal key recalls is taken out,
//
//     S_t = diag(exp(log_decay_t)) S_{t-1} - (kk_t * a_t) (S_{t-1}^T kk_t)^T + k_t v_t^T
//
// as a memory that writes twice: U_0 = V with k, and U_1, minus what is recalled, with kk * a. With
// A_1r what kk reads of either, U_1 = -(I + A_11)^-1 (A_10 V + since . (KK S)) = -(U + W S), whose U
// and W need no state: they are found for all chunks at once, then states go past the chunks. In
// backward likewise: dU_1 = A_01^T dY + until . (R_1 dS') and dS = ... - W^T dU_1.
#define MC_PAIRS 2
#include "channel_gradients.cuh"
#include "channel_steps.cuh"
#include "rwkv7_removal.cuh"

// W (B, T, H, K) and U (B, T, H, V). For backward also inverses (N, H, CHUNK, CHUNK), and d_removed
// (B, T, H, V) becomes A_01^T dY; otherwise d_reads, inverses and d_removed are null.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
rwkv7_prepare(const Token* q, const Token* k, const Token* v, const Real* log_decay,
              const Token* kk, const Token* a, const Token* d_reads, Real* recalling, Real* removed,
              Real* inverses, Real* d_removed, const int* table, int tokens, int heads, int keys,
              int values) {
  MC_ARENA(arena);
  Shape shape = {tokens, heads, keys, values};
  Place at = place_of(table);
  bool wanted[PAIRS][PAIRS] = {{false, true}, {true, true}};
  Pairs pairs = take_pairs(arena, wanted);
  Real* read = pairs.of[0][1];
  if (!d_reads) pairs.of[0][1] = nullptr;
  Real* inverse = arena.take<Real>(CHUNK * PAIR_ROW);
  Operands o = operands(arena, QUERIES | RECALLING | KEYS_WRITTEN | REMOVED);
  load_pairs(o, pairs, {q, k, log_decay, kk, a}, at, shape);
  rewind(arena, o);
  Real* rows = arena.take<Real>(CHUNK * VALUE_ROW);
  invert_unit_lower<CHUNK, PAIR_ROW, THREADS>(pairs.of[1][1], inverse);
  recalling_keys(o, inverse, tokens_of(recalling, at, shape, keys, 0),
                 inverses ? inverses + index_of(shape) * CHUNK * CHUNK : nullptr);
  for (int value = 0; value < values; value += VALUES) {
    __syncthreads();
    load<CHUNK, VALUES>(rows, VALUE_ROW, tokens_of(v, at, shape, values, value));
    __syncthreads();
    recalled_values(pairs.of[1][0], inverse, rows, tokens_of(removed, at, shape, values, value));
    if (!d_reads) continue;
    __syncthreads();
    load<CHUNK, VALUES>(rows, VALUE_ROW, tokens_of(d_reads, at, shape, values, value));
    __syncthreads();
    read_gradient(read, rows, tokens_of(d_removed, at, shape, values, value));
  }
}

// Also `removed` goes from U to U_1.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
rwkv7_states(const Token* k, const Token* v, const Real* log_decay, const Token* kk, const Token* a,
             const Real* recalling, Real* removed, const Real* carry, Real* checkpoints,
             Real* states, const int* bounds, const int* restart, const int* chunks, int apart,
             int segments, int tokens, int heads, int keys, int values) {
  MC_ARENA(arena);
  Operands o = operands(arena, KEYS_WRITTEN | REMOVED);
  Real *written = arena.take<Real>(CHUNK * VALUE_ROW), *taken = arena.take<Real>(CHUNK * VALUE_ROW);
  Real* before = arena.take<Real>(KEYS * VALUE_ROW);
  Shape shape = {tokens, heads, keys, values};
  int value = blockIdx.z * VALUES;
  auto step = [&](StateTile& state, Place at, long long) {
    __syncthreads();
    load_operands(o, {nullptr, k, log_decay, kk, a}, at, shape);
    load<CHUNK, VALUES>(written, VALUE_ROW, tokens_of(v, at, shape, values, value));
    share(state, before);
    __syncthreads();
    age(o);
    Real* w = o.decay;
    load<CHUNK, KEYS>(w, KEY_ROW, tokens_of(recalling, at, shape, keys, 0));
    __syncthreads();
    Blocks<CHUNK, VALUES, THREADS> u;
    u.clear();
    u.product([&](int t, int i) { return w[t * KEY_ROW + i]; },
              [&](int i, int c, int) { return before[i * VALUE_ROW + c]; }, Whole{KEYS}, KEYS);
    auto there = tokens_of(removed, at, shape, values, value);
    u.each([&](int t, int c, Real number) {
      number = -(there.get(t, c) + number);
      taken[t * VALUE_ROW + c] = number;
      there.put(t, c, number);
    });
    __syncthreads();
    forget(state, o);
    state.product([&](int i, int t) { return o.until(0, t, i); },
                  [&](int t, int c, int) { return written[t * VALUE_ROW + c]; }, Whole{CHUNK}, CHUNK);
    state.product([&](int i, int t) { return o.until(1, t, i); },
                  [&](int t, int c, int) { return taken[t * VALUE_ROW + c]; }, Whole{CHUNK}, CHUNK);
  };
  walk({bounds, restart, chunks, segments}, shape, carry, checkpoints, states, apart != 0, step);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
rwkv7_answers(const Token* q, const Token* k, const Token* v, const Real* log_decay,
              const Token* kk, const Token* a, const Real* removed, const Real* states,
              Token* reads, const int* table, int tokens, int heads, int keys, int values) {
  Shape shape = {tokens, heads, keys, values};
  chunk_answers({q, k, log_decay, kk, a}, {v, removed}, states, reads, place_of(table),
                index_of(shape), shape);
}

// Also `d_removed` goes from A_01^T dY to dU_1.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
rwkv7_state_gradients(const Token* q, const Real* log_decay, const Token* kk, const Token* a,
                      const Real* recalling, const Token* d_reads, Real* d_removed,
                      const Real* d_checkpoints, Real* d_carry, Real* d_states, const int* bounds,
                      const int* restart, const int* chunks, int segments, int tokens, int heads,
                      int keys, int values) {
  MC_ARENA(arena);
  Operands o = operands(arena, QUERIES | REMOVED);
  Real *asked = arena.take<Real>(CHUNK * VALUE_ROW), *taken = arena.take<Real>(CHUNK * VALUE_ROW);
  Real* after = arena.take<Real>(KEYS * VALUE_ROW);
  Shape shape = {tokens, heads, keys, values};
  int value = blockIdx.z * VALUES;
  auto step = [&](StateTile& d_state, Place at, long long) {
    __syncthreads();
    load_operands(o, {q, nullptr, log_decay, kk, a}, at, shape);
    load<CHUNK, VALUES>(asked, VALUE_ROW, tokens_of(d_reads, at, shape, values, value));
    share(d_state, after);
    __syncthreads();
    age(o);
    Real* w = o.decay;
    load<CHUNK, KEYS>(w, KEY_ROW, tokens_of(recalling, at, shape, keys, 0));
    Blocks<CHUNK, VALUES, THREADS> d;
    d.clear();
    d.product([&](int j, int i) { return o.until(1, j, i); },
              [&](int i, int c, int) { return after[i * VALUE_ROW + c]; }, Whole{KEYS}, KEYS);
    auto there = tokens_of(d_removed, at, shape, values, value);
    d.each([&](int j, int c, Real number) {
      number += there.get(j, c);
      taken[j * VALUE_ROW + c] = -number;
      there.put(j, c, number);
    });
    __syncthreads();
    forget(d_state, o);
    d_state.product([&](int i, int t) { return o.since(0, t, i); },
                    [&](int t, int c, int) { return asked[t * VALUE_ROW + c]; }, Whole{CHUNK}, CHUNK);
    d_state.product([&](int i, int t) { return w[t * KEY_ROW + i]; },
                    [&](int t, int c, int) { return taken[t * VALUE_ROW + c]; }, Whole{CHUNK}, CHUNK);
  };
  walk_back({bounds, restart, chunks, segments}, shape, d_carry, d_checkpoints, d_states, step);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
rwkv7_gradients(const Token* q, const Token* k, const Token* v, const Real* log_decay,
                const Token* kk, const Token* a, const Real* removed, const Real* states,
                const Real* d_states, const Token* d_reads, const Real* d_removed,
                const Real* inverses, Token* dq, Token* dk, Token* dv, Real* d_log_decay,
                Token* d_kk, Token* d_a, const int* table, int tokens, int heads, int keys,
                int values) {
  Shape shape = {tokens, heads, keys, values};
  chunk_gradients({q, k, log_decay, kk, a}, {v, removed},
                  {states, d_states, d_reads, d_removed, inverses},
                  {dq, dk, dv, d_log_decay, d_kk, d_a}, place_of(table), index_of(shape), shape);
}
