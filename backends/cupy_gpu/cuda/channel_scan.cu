// Memories with a decay per key channel (GLA): S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T.
//
// What each chunk writes, (until . K)^T V, is found for all chunks at once; chains of additions make
// the states before them of it; then all answers are found at once. Backward makes the same states,
// each segment by itself from the checkpoint before it, and likewise the gradients after chunks, from
// what reads give to the state before them, (since . Q)^T dY.
#define MC_PAIRS 1
#include "channel_chains.cuh"
#include "channel_gradients.cuh"

// A tile of (x aged)^T y of one chunk, which the state after it gets, or, BACK, the one before it; and
// the factors of the whole chunk, by the first tile's block.
template <bool BACK>
__device__ __forceinline__ void chunk_product(Inputs x, const Token* y, Real* to, Real* wholes,
                                              Place at, long long index, Shape shape) {
  MC_ARENA(arena);
  Operands o = operands(arena, BACK ? QUERIES : KEYS_WRITTEN);
  Real* rows = arena.take<Real>(CHUNK * VALUE_ROW);
  int value = blockIdx.z * VALUES;
  load_operands(o, x, at, shape);
  load<CHUNK, VALUES>(rows, VALUE_ROW, tokens_of(y, at, shape, shape.values, value));
  __syncthreads();
  age(o);
  Blocks<KEYS, VALUES, THREADS> sum;
  sum.clear();
  sum.product([&](int i, int t) { return BACK ? o.since(0, t, i) : o.until(0, t, i); },
              [&](int t, int c, int) { return rows[t * VALUE_ROW + c]; }, Whole{CHUNK}, CHUNK);
  Matrix<Real> tile = state_of(to, index, shape, value);
  sum.each([&](int i, int c, Real number) { tile.put(i, c, number); });
  int i = threadIdx.x;
  if (wholes && blockIdx.z == 0 && i < shape.keys) wholes[index * shape.keys + i] = o.gap(SUBS, -1, i);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
channel_writes(const Token* k, const Token* v, const Real* log_decay, Real* states, Real* wholes,
               const int* table, int tokens, int heads, int keys, int values) {
  Shape shape = {tokens, heads, keys, values};
  chunk_product<false>({nullptr, k, log_decay, nullptr, nullptr}, v, states, wholes,
                       place_of(table), index_of(shape), shape);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
channel_reads(const Token* q, const Token* d_reads, const Real* log_decay, Real* d_states,
              const int* table, int tokens, int heads, int keys, int values) {
  Shape shape = {tokens, heads, keys, values};
  chunk_product<true>({q, nullptr, log_decay, nullptr, nullptr}, d_reads, d_states, nullptr,
                      place_of(table), index_of(shape), shape);
}

extern "C" __global__ void __launch_bounds__(THREADS)
channel_states(const Real* wholes, const Real* carry, Real* checkpoints, Real* states,
               const int* bounds, const int* restart, const int* chunks, int apart, int segments,
               int tokens, int heads, int keys, int values) {
  chain({bounds, restart, chunks, segments}, {tokens, heads, keys, values}, wholes, carry,
        checkpoints, states, apart != 0);
}

extern "C" __global__ void __launch_bounds__(THREADS)
channel_state_gradients(const Real* wholes, const Real* d_checkpoints, Real* d_carry,
                        Real* d_states, const int* bounds, const int* restart, const int* chunks,
                        int segments, int tokens, int heads, int keys, int values) {
  chain_back({bounds, restart, chunks, segments}, {tokens, heads, keys, values}, wholes, d_carry,
             d_checkpoints, d_states);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
channel_answers(const Token* q, const Token* k, const Token* v, const Real* log_decay,
                const Real* states, Token* reads, const int* table, int tokens, int heads, int keys,
                int values) {
  Shape shape = {tokens, heads, keys, values};
  chunk_answers({q, k, log_decay, nullptr, nullptr}, {v, nullptr}, states, reads, place_of(table),
                index_of(shape), shape);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
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
