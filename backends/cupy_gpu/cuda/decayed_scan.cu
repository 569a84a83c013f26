// Scan of additive memories with one decay per token: S_t = a_t S_{t-1} + k_t v_t^T, y = S_t^T q_t.
//
// Forward: chunk_writes, then write_chains where chunks follow one another, then answers.
// Backward: the states inside segments by the first two again; read_gradients and gradient_chains
// for those of the states; then value_gradients and key_gradients, each chunk by itself.
#include "chunk_chains.cuh"
#include "chunk_gradients.cuh"
#include "chunk_products.cuh"

// U of each chunk to where its state will be; if `inside`, only of those inside segments.
extern "C" __global__ void __launch_bounds__(THREADS)
chunk_writes(const Token* k, const Token* v, const Real* log_decay, STATES(state), Real* wholes,
             const int* chunks, int inside, SIZES) {
  Sizes sizes GIVEN_SIZES;
  States states GIVEN(state);
  Chunk chunk = chunk_of(chunks, blockIdx.x, blockIdx.y);
  if (inside && chunk.end < 0) return;
  Real* to = states.at(chunk.end, chunk.row, chunk.head, sizes);
  Real* whole = wholes + (long long)blockIdx.x * heads + chunk.head;
  MC_ARENA(arena);
  chunk_product<false>(arena, k, v, log_decay, to, whole, chunk, sizes);
}

// W of each chunk to where the gradient of the state before it will be.
extern "C" __global__ void __launch_bounds__(THREADS)
read_gradients(const Token* q, const Token* dy, const Real* log_decay, STATES(gradient),
               Real* wholes, const int* chunks, SIZES) {
  Sizes sizes GIVEN_SIZES;
  States gradients GIVEN(gradient);
  Chunk chunk = chunk_of(chunks, blockIdx.x, blockIdx.y);
  if (chunk.start == NOWHERE) return;
  int code = chunk.start == CARRIED ? CARRIED : chunk_of(chunks, blockIdx.x - 1, 0).gradient;
  Real* to = gradients.at(code, chunk.row, chunk.head, sizes);
  Real* whole = wholes + (long long)blockIdx.x * heads + chunk.head;
  MC_ARENA(arena);
  chunk_product<true>(arena, q, dy, log_decay, to, whole, chunk, sizes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 8)
write_chains(STATES(state), const Real* wholes, const int* chunks, const int* chains, SIZES) {
  Sizes sizes GIVEN_SIZES;
  long long entry = blockIdx.z * (long long)THREADS + threadIdx.x;
  if (entry >= sizes.state()) return;
  chain_states(chunks, chains + 2 * (long long)blockIdx.x, wholes, States GIVEN(state), sizes,
               blockIdx.y, entry);
}

extern "C" __global__ void __launch_bounds__(THREADS, 8)
gradient_chains(STATES(gradient), const Real* wholes, const int* chunks, const int* chains, SIZES) {
  Sizes sizes GIVEN_SIZES;
  long long entry = blockIdx.z * (long long)THREADS + threadIdx.x;
  if (entry >= sizes.state()) return;
  chain_gradients(chunks, chains + 2 * (long long)blockIdx.x, wholes, States GIVEN(gradient), sizes,
                  blockIdx.y, entry);
}

extern "C" __global__ void __launch_bounds__(THREADS, ANSWER_BLOCKS)
answers(const Token* q, const Token* k, const Token* v, const Real* log_decay, STATES(state),
        Token* y, const int* chunks, SIZES) {
  Sizes sizes GIVEN_SIZES;
  States states GIVEN(state);
  Chunk chunk = chunk_of(chunks, blockIdx.x, blockIdx.y);
  Real* state = states.at(chunk.start, chunk.row, chunk.head, sizes);
  MC_ARENA(arena);
  chunk_answers<false>(arena, {q, k, log_decay}, v, state, y, chunk, sizes, blockIdx.z * VALUES);
}

extern "C" __global__ void __launch_bounds__(THREADS, ANSWER_BLOCKS)
value_gradients(const Token* q, const Token* k, const Token* dy, const Real* log_decay,
                STATES(gradient), Token* dv, const int* chunks, SIZES) {
  Sizes sizes GIVEN_SIZES;
  States gradients GIVEN(gradient);
  Chunk chunk = chunk_of(chunks, blockIdx.x, blockIdx.y);
  Real* gradient = gradients.at(chunk.gradient, chunk.row, chunk.head, sizes);
  MC_ARENA(arena);
  int first = blockIdx.z * VALUES;
  chunk_answers<true>(arena, {q, k, log_decay}, dy, gradient, dv, chunk, sizes, first);
}

// d_log_decay (key tiles, B, T, H), whose sum over the tiles is the gradient; or null.
extern "C" __global__ void __launch_bounds__(THREADS)
key_gradients(const Token* q, const Token* k, const Token* v, const Token* dy,
              const Real* log_decay, STATES(state), STATES(gradient), Token* dq, Token* dk,
              Real* d_log_decay, const int* chunks, int rows, SIZES) {
  Sizes sizes GIVEN_SIZES;
  Chunk chunk = chunk_of(chunks, blockIdx.x, blockIdx.y);
  Real* state = States GIVEN(state).at(chunk.start, chunk.row, chunk.head, sizes);
  Real* gradient = States GIVEN(gradient).at(chunk.gradient, chunk.row, chunk.head, sizes);
  int first = blockIdx.z * KEYS;
  MC_ARENA(arena);
  GradientBlocks at = take_blocks(arena);
  GradientSums sums;
  clear(sums);
  ask_keys(at.q, chunk.of(q, sizes, keys, first));
  ask_keys(at.k, chunk.of(k, sizes, keys, first));
  for (int j = 0; j < values; j += VALUES) {
    ask_inner(at, chunk.of(dy, sizes, values, j), chunk.of(v, sizes, values, j));
    ask_states(at, state, gradient, sizes, first, j);
    if (j == 0) set_decay(at.decay, log_decay, chunk, sizes);
    arrived();
    add_values(at, state == nullptr, sums);
    __syncthreads();
  }
  weigh_state_terms(at, sums);
  split_pairs(at, d_log_decay != nullptr, sums);
  __syncthreads();
  add_pairs(at, sums);
  store_keys(sums, chunk.of(dq, sizes, keys, first), chunk.of(dk, sizes, keys, first));
  if (!d_log_decay) return;
  Real* out = d_log_decay + (long long)blockIdx.z * rows * tokens * heads;
  log_decay_gradient(at.use, sums.whole, out, chunk, sizes);
}

// (parts, N) to its sum over parts, in their order.
extern "C" __global__ void __launch_bounds__(THREADS)
sum_parts(const Real* parts, Real* sums, int count, int numbers) {
  long long at = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (at >= numbers) return;
  Real sum = parts[at];
  for (int part = 1; part < count; ++part) sum += parts[(long long)part * numbers + at];
  sums[at] = sum;
}
