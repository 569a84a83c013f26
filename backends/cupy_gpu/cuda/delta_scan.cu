// Scan of delta rules: S_t = a_t S_{t-1} + beta_t k_t (v_t - a_t S_{t-1}^T k_t)^T, y_t = S_t^T q_t.
//
// Forward: delta_solve in each chunk, delta_chains through them, delta_answers in each.
// Backward: delta_solve, and delta_chains through each segment again; delta_answer_gradients and
// `read_gradients` of decayed_scan.cu in each chunk; delta_gradient_chains back through them; then
// correction_gradients and delta_key_gradients in each.
#include "delta_chains.cuh"
#include "delta_gradients.cuh"

// W and U of a chunk, (B, T, H, K) and (B, T, H, V); and its inverse, if it is wanted.
extern "C" __global__ void __launch_bounds__(THREADS)
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
  set_decay(decay, log_decay, chunk, sizes);
  load_beta(strength, beta, chunk, sizes);
  Tile<ROWS, ROWS, THREADS> pairs;
  pairs.clear();
  for (int first = 0; first < keys; first += KEYS) {
    load<ROWS, KEYS>(rows, KEY_APART, chunk.of(k, sizes, keys, first));
    __syncthreads();
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
  int head = blockIdx.y, column = blockIdx.z * PASS;
  Chunk first = chunk_of(chunks, chain[0], head);
  load_state(at, states.at(first.start, first.row, head, sizes), sizes, column);
  for (int index = chain[0]; index < chain[1]; ++index) {
    Chunk chunk = chunk_of(chunks, index, head);
    set_decay(at.decay, log_decay, chunk, sizes);
    if (at.all_keys == KEYS) load<ROWS, KEYS>(at.k, KEY_APART, chunk.of(k, sizes, keys, 0));
    through_state(at, at.w, w, x, [&](int, Real u, Real sum) { return u - sum; }, chunk, sizes,
                  column);
    if (inside && chunk.end < 0) break;
    into_state(at, at.k, k, [&](int t) { return at.decay.until[t]; },
               [](int, int) { return Real(0); }, chunk, sizes);
    store_state(at, states.at(chunk.end, chunk.row, head, sizes), sizes, column);
  }
}

// Y from X.
extern "C" __global__ void __launch_bounds__(THREADS)
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
extern "C" __global__ void __launch_bounds__(THREADS)
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
  int head = blockIdx.y, column = blockIdx.z * PASS;
  Chunk chunk = chunk_of(chunks, chain[1] - 1, head);
  load_state(at, gradients.at(chunk.gradient, chunk.row, head, sizes), sizes, column);
  for (int index = chain[1] - 1; index >= chain[0]; --index) {
    chunk = chunk_of(chunks, index, head);
    set_decay(at.decay, log_decay, chunk, sizes);
    if (at.all_keys == KEYS) load<ROWS, KEYS>(at.w, KEY_APART, chunk.of(w, sizes, keys, 0));
    through_state(at, at.k, k, dx,
                  [&](int t, Real given, Real sum) { return given + at.decay.until[t] * sum; },
                  chunk, sizes, column);
    Chunk before = chunk_of(chunks, max(index - 1, chain[0]), head);
    int code = index > chain[0] ? before.gradient : chunk.start;
    Real* to = gradients.at(code, chunk.row, head, sizes);
    if (!to) break;
    const Real* outside = nullptr;
    if (index > chain[0] && before.end <= FIRST_END)
      outside = gradients.at(before.end, chunk.row, head, sizes);
    auto more = [&](int i, int v) {
      if (i >= keys || column + v >= values) return Real(0);
      long long entry = (long long)i * values + column + v;
      return to[entry] + (outside ? outside[entry] : Real(0));
    };
    into_state(at, at.w, w, [](int) { return Real(-1); }, more, chunk, sizes);
    store_state(at, to, sizes, column);
  }
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
  load<ROWS, ROWS>(inverse, ROW_APART, from);
  load_beta(strength, beta, chunk, sizes);
  Real total = Real(0);
  for (int first = 0; first < values; first += VALUES) {
    Matrix<Real> r = chunk.of(dx, sizes, values, first);
    Matrix<Token> d_value = chunk.of(dv, sizes, values, first);
    Matrix<const Token> value = chunk.of(v, sizes, values, first);
    load<ROWS, VALUES>(rows, VALUE_APART, r);
    __syncthreads();
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
  set_decay(at.decay, log_decay, chunk, sizes);
  load_beta(by_row.beta, beta, chunk, sizes);
  load<ROWS, KEYS>(at.q, KEY_APART, chunk.of(q, sizes, keys, first));
  load<ROWS, KEYS>(at.k, KEY_APART, chunk.of(k, sizes, keys, first));
  for (int j = 0; j < values; j += VALUES) {
    load_values(at, chunk.of(dy, sizes, values, j), chunk.of(x, sizes, values, j));
    load_states(at, state, gradient, sizes, first, j);
    __syncthreads();
    add_values(at, state == nullptr, sums);
    __syncthreads();
    load<ROWS, VALUES>(at.dy, VALUE_APART, chunk.of(r, sizes, values, j));
    __syncthreads();
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
