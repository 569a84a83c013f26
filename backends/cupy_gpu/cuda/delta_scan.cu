// Scan of delta rules: S_t = a_t S_{t-1} + beta_t k_t (v_t - a_t S_{t-1}^T k_t)^T, y_t = S_t^T q_t.
//
// Forward: delta_solve in each chunk, delta_chains through them, delta_answers in each.
// Backward: delta_solve, and delta_chains through each segment again; delta_answer_gradients and
// `read_gradients` of decayed_scan.cu in each chunk; delta_gradient_chains back through them; then
// correction_gradients and delta_key_gradients in each.
#include "delta_chains.cuh"
#include "delta_gradients.cuh"

// W and U of a chunk, (B, T, H, K) and (B, T, H, V); and its inverse, if it is wanted.
extern "C" __global__ void __launch_bounds__(THREADS, 3)
delta_solve(const Token* k, const Token* v, const Real* log_decay, const Real* beta, Real* w,
            Real* u, Real* inverses, const int* chunks, SIZES) {
  Sizes sizes GIVEN_SIZES;
  Chunk chunk = chunk_of(chunks, blockIdx.x, blockIdx.y);
  MC_ARENA(arena);
  Decay decay = take_decay(arena);
  Real* strength = arena.take<Real>(ROWS);
  Real* carried = arena.take<Real>(ROWS);
  Real* lower = arena.take<Real>(ROW_BLOCK);
  Real* inverse = arena.take<Real>(ROW_BLOCK);
  Real* rows = arena.take<Real>(larger(ROW_BLOCK, larger(KEY_BLOCK, VALUE_BLOCK)));
  load_beta(strength, beta, chunk, sizes);
  Tile<ROWS, ROWS, THREADS> pairs;
  pairs.clear();
  for (int first = 0; first < keys; first += KEYS) {
    ask_keys(rows, chunk.of(k, sizes, keys, first));
    if (first == 0) set_decay(decay, log_decay, chunk, sizes);
    arrived();
    pairs.product([&](int t, int i) { return rows[t * KEY_APART + i]; },
                  [&](int i, int j) { return rows[j * KEY_APART + i]; }, KEYS);
    __syncthreads();
  }
  pairs.each([&](int t, int j, Real pair) {
    lower[t * ROW_APART + j] = j < t ? strength[t] * pair * decay.between(t, j) : Real(0);
  });
  for (int t = threadIdx.x; t < ROWS; t += THREADS) carried[t] = strength[t] * decay.since[t];
  invert_unit_lower(lower, inverse, rows);
  if (inverses) {
    Real* to = inverse_of(inverses, blockIdx.x, chunk, sizes);
    for (int i = threadIdx.x; i < ROWS * ROWS; i += THREADS)
      to[i] = inverse[i / ROWS * ROW_APART + i % ROWS];
  }
  solved<KEYS>(inverse, carried, rows, k, w, keys, chunk, sizes);
  solved<VALUES>(inverse, strength, rows, v, u, values, chunk, sizes);
}

// X in place of U, and the states; if `inside`, only those inside segments.
extern "C" __global__ void __launch_bounds__(THREADS)
delta_chains(const Token* k, const Real* log_decay, const Real* w, Real* x, STATES(state),
             const int* chunks, const int* chains, int inside, SIZES) {
  Sizes sizes GIVEN_SIZES;
  States states GIVEN(state);
  MC_ARENA(arena);
  DeltaBlocks at = take_delta_blocks(arena, sizes);
  const int* chain = chains + 2 * (long long)blockIdx.x;
  ChunkOrder order{chunks, chain[0], 1, chain[1] - chain[0], int(blockIdx.y)};
  auto stream = tile_stream(arena, w, k, log_decay, order, sizes);
  stream.start();
  Chunk chunk = order.at(0);
  load_columns(at, states.at(chunk.start, chunk.row, chunk.head, sizes), sizes);
  for (int n = 0; n < order.count; ++n) {
    chunk = order.at(n);
    through_state(at, stream, x, n, sizes, [](int, Real u, Real sum) { return u - sum; });
    if (inside && chunk.end < 0) break;
    Real* to = states.at(chunk.end, chunk.row, chunk.head, sizes);
    into_state(at, stream, to, sizes, [&](int t) { return at.decay.until[t]; },
               [](int, int, int) { return Real(0); });
  }
  arrived();
}

// Y from X.
extern "C" __global__ void __launch_bounds__(THREADS, ANSWER_BLOCKS)
delta_answers(const Token* q, const Token* k, const Real* x, const Real* log_decay, STATES(state),
              Token* y, const int* chunks, SIZES) {
  Sizes sizes GIVEN_SIZES;
  States states GIVEN(state);
  Chunk chunk = chunk_of(chunks, blockIdx.x, blockIdx.y);
  Real* state = states.at(chunk.start, chunk.row, chunk.head, sizes);
  MC_ARENA(arena);
  chunk_answers<false>(arena, {q, k, log_decay}, x, state, y, chunk, sizes, blockIdx.z * VALUES);
}

// A^T dY.
extern "C" __global__ void __launch_bounds__(THREADS, ANSWER_BLOCKS)
delta_answer_gradients(const Token* q, const Token* k, const Token* dy, const Real* log_decay,
                       Real* dx, const int* chunks, SIZES) {
  Sizes sizes GIVEN_SIZES;
  Chunk chunk = chunk_of(chunks, blockIdx.x, blockIdx.y);
  Real* none = nullptr;
  MC_ARENA(arena);
  chunk_answers<true>(arena, {q, k, log_decay}, dy, none, dx, chunk, sizes, blockIdx.z * VALUES);
}

// dX in place of A^T dY, and the gradients of states, where (since . Q)^T dY lies.
extern "C" __global__ void __launch_bounds__(THREADS)
delta_gradient_chains(const Token* k, const Real* log_decay, const Real* w, Real* dx,
                      STATES(gradient), const int* chunks, const int* chains, SIZES) {
  Sizes sizes GIVEN_SIZES;
  States gradients GIVEN(gradient);
  MC_ARENA(arena);
  DeltaBlocks at = take_delta_blocks(arena, sizes);
  const int* chain = chains + 2 * (long long)blockIdx.x;
  ChunkOrder order{chunks, chain[1] - 1, -1, chain[1] - chain[0], int(blockIdx.y)};
  auto stream = tile_stream(arena, k, w, log_decay, order, sizes);
  stream.start();
  Chunk chunk = order.at(0);
  load_columns(at, gradients.at(chunk.gradient, chunk.row, chunk.head, sizes), sizes);
  for (int n = 0; n < order.count; ++n) {
    chunk = order.at(n);
    through_state(at, stream, dx, n, sizes, [&](int t, Real given, Real sum) {
      return given + at.decay.until[t] * sum;
    });
    bool follows = n + 1 < order.count;
    Chunk before = order.at(follows ? n + 1 : n);
    int code = follows ? before.gradient : chunk.start;
    Real* to = gradients.at(code, chunk.row, chunk.head, sizes);
    if (!to) break;
    int outside = follows && before.end <= FIRST_END ? before.end : NOWHERE;
    Real* entering = gradients.at(outside, chunk.row, chunk.head, sizes);
    into_state(at, stream, to, sizes, [](int) { return Real(-1); }, [&](int first, int i, int v) {
      Real read = state_tile(to, sizes, first, at.first).near(i, v);
      return entering ? read + state_tile(entering, sizes, first, at.first).near(i, v) : read;
    });
  }
  arrived();
}

// R in place of dX; dv = beta R; and <R, V>, a part of d_beta.
extern "C" __global__ void __launch_bounds__(THREADS)
correction_gradients(const Token* v, const Real* beta, const Real* inverses, Real* dx, Token* dv,
                     Real* d_beta, const int* chunks, SIZES) {
  Sizes sizes GIVEN_SIZES;
  Chunk chunk = chunk_of(chunks, blockIdx.x, blockIdx.y);
  MC_ARENA(arena);
  take_decay(arena);
  Real* scratch = arena.take<Real>(ROW_PARTS);
  Real* strength = arena.take<Real>(ROWS);
  Real* sums = arena.take<Real>(ROWS);
  Real* inverse = arena.take<Real>(ROW_BLOCK);
  Real* rows = arena.take<Real>(VALUE_BLOCK);
  Matrix<Real> from{inverse_of(const_cast<Real*>(inverses), blockIdx.x, chunk, sizes), ROWS, ROWS,
                    ROWS};
  ask<ROWS, ROWS, THREADS>(inverse, ROW_APART, from);
  load_beta(strength, beta, chunk, sizes);
  Real total = Real(0);
  for (int first = 0; first < values; first += VALUES) {
    Matrix<Real> r = chunk.of(dx, sizes, values, first);
    Matrix<Token> d_value = chunk.of(dv, sizes, values, first);
    Matrix<const Token> value = chunk.of(v, sizes, values, first);
    ask_values(rows, r);
    arrived();
    Tile<ROWS, VALUES, THREADS> tile;
    tile.clear();
    tile.product([&](int t, int j) { return inverse[j * ROW_APART + t]; },
                 [&](int j, int i) { return rows[j * VALUE_APART + i]; }, ROWS);
    row_sums(tile, [&](int t, int i, Real& number) {
      r.put(t, i, number);
      d_value.put(t, i, strength[t] * number);
      return number * value.get(t, i);
    }, scratch, sums);
    if (threadIdx.x < ROWS) total += sums[threadIdx.x];
  }
  if (int(threadIdx.x) < chunk.count)
    d_beta[chunk.token(sizes) + (long long)threadIdx.x * heads] = total;
}

// As key_gradients of decayed_scan.cu, with X for v and R for dx; d_beta (key tiles, B, T, H).
extern "C" __global__ void __launch_bounds__(THREADS)
delta_key_gradients(const Token* q, const Token* k, const Real* x, const Token* dy,
                    const Real* log_decay, const Real* beta, const Real* r, STATES(state),
                    STATES(gradient), Token* dq, Token* dk, Real* d_log_decay, Real* d_beta,
                    const int* chunks, int rows, SIZES) {
  Sizes sizes GIVEN_SIZES;
  Chunk chunk = chunk_of(chunks, blockIdx.x, blockIdx.y);
  Real* state = States GIVEN(state).at(chunk.start, chunk.row, chunk.head, sizes);
  Real* gradient = States GIVEN(gradient).at(chunk.gradient, chunk.row, chunk.head, sizes);
  int first = blockIdx.z * KEYS;
  MC_ARENA(arena);
  GradientBlocks at = take_blocks(arena);
  DeltaRows by_row = take_delta_rows(arena);
  GradientSums sums;
  DeltaSums delta;
  clear(sums);
  delta.coupling.clear();
  delta.carried.clear();
  load_beta(by_row.beta, beta, chunk, sizes);
  ask_keys(at.q, chunk.of(q, sizes, keys, first));
  ask_keys(at.k, chunk.of(k, sizes, keys, first));
  for (int j = 0; j < values; j += VALUES) {
    ask_inner(at, chunk.of(dy, sizes, values, j), chunk.of(x, sizes, values, j));
    ask_states(at, state, gradient, sizes, first, j);
    if (j == 0) set_decay(at.decay, log_decay, chunk, sizes);
    arrived();
    add_values(at, state == nullptr, sums);
    __syncthreads();
    ask_values(at.dy, chunk.of(r, sizes, values, j));
    arrived();
    add_corrections(at, state == nullptr, delta);
    __syncthreads();
  }
  weigh_state_terms(at, sums);
  weigh_errors(at, by_row, delta, sums);
  split_pairs(at, d_log_decay != nullptr, sums);
  split_coupling(at, by_row, d_log_decay != nullptr, delta, sums);
  add_pairs(at, sums);
  add_coupling(at, by_row, sums);
  store_keys(sums, chunk.of(dq, sizes, keys, first), chunk.of(dk, sizes, keys, first));
  long long part = (long long)blockIdx.z * rows * tokens * heads;
  if (int(threadIdx.x) < chunk.count)
    d_beta[part + chunk.token(sizes) + (long long)threadIdx.x * heads] =
        by_row.coupled[threadIdx.x] - by_row.carried[threadIdx.x];
  if (d_log_decay) log_decay_gradient(at.use, sums.whole, d_log_decay + part, chunk, sizes);
}
