// Memories with a decay per key channel (GLA): S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T.
//
// States go past the chunks of a run one after the other; everything else is done for all chunks at
// once. Backward goes past the chunks again, each segment by itself from the checkpoint before it,
// and then with the gradient of the state from the last chunk to the first.
#define MC_PAIRS 1
#include "channel_gradients.cuh"
#include "channel_steps.cuh"

__global__ void __launch_bounds__(THREADS)
channel_states(const Token* k, const Token* v, const Real* log_decay, const Real* carry,
               Real* checkpoints, Real* states, const int* bounds, const int* restart,
               const int* chunks, int apart, int segments, int tokens, int heads, int keys,
               int values) {
  MC_ARENA(arena);
  Operands o = operands(arena, KEYS_WRITTEN);
  Real* rows = arena.take<Real>(CHUNK * VALUE_ROW);
  Shape shape = {tokens, heads, keys, values};
  int value = blockIdx.z * VALUES;
  walk({bounds, restart, chunks, segments}, shape, carry, checkpoints, states, apart != 0,
       [&](StateTile& state, Place at, long long) {
         __syncthreads();
         load_operands(o, {nullptr, k, log_decay, nullptr, nullptr}, at, shape);
         load<CHUNK, VALUES>(rows, VALUE_ROW, tokens_of(v, at, shape, values, value));
         __syncthreads();
         age(o);
         forget(state, o);
         state.product([&](int i, int t) { return o.until(0, t, i); },
                       [&](int t, int c, int) { return rows[t * VALUE_ROW + c]; }, Whole{CHUNK},
                       CHUNK);
       });
}

__global__ void __launch_bounds__(THREADS)
channel_answers(const Token* q, const Token* k, const Token* v, const Real* log_decay,
                const Real* states, Token* reads, const int* table, int tokens, int heads, int keys,
                int values) {
  Shape shape = {tokens, heads, keys, values};
  chunk_answers({q, k, log_decay, nullptr, nullptr}, {v, nullptr}, states, reads, place_of(table),
                index_of(shape), shape);
}

__global__ void __launch_bounds__(THREADS)
channel_state_gradients(const Token* q, const Real* log_decay, const Token* d_reads,
                        const Real* d_checkpoints, Real* d_carry, Real* d_states, const int* bounds,
                        const int* restart, const int* chunks, int segments, int tokens, int heads,
                        int keys, int values) {
  MC_ARENA(arena);
  Operands o = operands(arena, QUERIES);
  Real* rows = arena.take<Real>(CHUNK * VALUE_ROW);
  Shape shape = {tokens, heads, keys, values};
  int value = blockIdx.z * VALUES;
  walk_back({bounds, restart, chunks, segments}, shape, d_carry, d_checkpoints, d_states,
            [&](StateTile& d_state, Place at, long long) {
              __syncthreads();
              load_operands(o, {q, nullptr, log_decay, nullptr, nullptr}, at, shape);
              load<CHUNK, VALUES>(rows, VALUE_ROW, tokens_of(d_reads, at, shape, values, value));
              __syncthreads();
              age(o);
              forget(d_state, o);
              d_state.product([&](int i, int t) { return o.since(0, t, i); },
                              [&](int t, int c, int) { return rows[t * VALUE_ROW + c]; },
                              Whole{CHUNK}, CHUNK);
            });
}

__global__ void __launch_bounds__(THREADS)
channel_gradients(const Token* q, const Token* k, const Token* v, const Real* log_decay,
                  const Real* states, const Real* d_states, const Token* d_reads, Token* dq,
                  Token* dk, Token* dv, Real* d_log_decay, const int* table, int tokens, int heads,
                  int keys, int values) {
  Shape shape = {tokens, heads, keys, values};
  chunk_gradients({q, k, log_decay, nullptr, nullptr}, {v, nullptr},
                  {states, d_states, d_reads, nullptr, nullptr},
                  {dq, dk, dv, d_log_decay, nullptr, nullptr}, place_of(table), index_of(shape),
                  shape);
}
