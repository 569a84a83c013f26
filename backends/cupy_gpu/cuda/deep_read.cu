// Cached reads of perceptrons: y_t = sum_i g_ti (q_t + gelu(q_t w_in^i) w_out^i), and the gradients
//
//   P = Q w_in    D = dY w_out^T    dP = g . gelu'(P) . D
//   dQ += g dY + dP w_in^T    dg = <dy, q> + <d, gelu(p)>
//   dw_in += Q^T dP           dw_out += (g . gelu(P))^T dY
//
// A block has a tile of tokens, checkpoint after checkpoint; or a slice of one checkpoint, tile after
// tile. Perceptrons pass through shared memory in slices of hidden units. Checkpoints that no token of
// a tile reads are skipped.
#include "deep_read_tile.cuh"

// y (B, T, H, K). Grid: tiles of ROWS tokens, B H.
__global__ void __launch_bounds__(THREADS)
deep_read(const Token* q, const Real* states, const Real* gates, const int* first, const int* last,
          const int* segment, int tokens, int heads, int segments, int count, int gated, int keys,
          int width, int size, Token* y) {
  Columns c{states, gates, first, last, segment, tokens, heads,
            segments, count, gated, keys, width, size};
  int b = blockIdx.y / heads, h = blockIdx.y % heads, t = blockIdx.x * ROWS;
  MC_ARENA(arena);
  Work w = take_work(arena, false);
  load<ROWS, KEYS>(w.q, BY_KEY, c.rows(q, b, t, h, keys, 0));
  for (int i = threadIdx.x; i < ROWS; i += THREADS) w.total[i] = Real(0);
  Range seen = seen_by(c, b, t, ROWS, w.scratch);
  Answers answers;
  answers.clear();
  for (int column = seen.low; column < seen.high; ++column) {
    if (!weigh(c, b, t, h, column, ROWS, w.weights, w.scratch)) continue;
    for (int i = threadIdx.x; i < ROWS; i += THREADS) w.total[i] += w.weights[i];
    for (int slice = 0; slice < width; slice += SLICE) {
      __syncthreads();
      load_slice(c, b, column, h, slice, w);
      __syncthreads();
      Hidden p;
      excite(w, p);
      p.each([&](int i, int j, Real x) { w.hidden[i * BY_UNIT + j] = w.weights[i] * gelu_value(x); });
      __syncthreads();
      add_product(answers, of(w.hidden, BY_UNIT), turned(w.w_out, BY_UNIT), SLICE);
    }
  }
  __syncthreads();
  Matrix<Token> out = c.rows(y, b, t, h, keys, 0);
  answers.each([&](int i, int j, Real x) { out.put(i, j, x + w.total[i] * w.q[i * BY_KEY + j]); });
}

// dq (B, T, H, K); adds to d_gates (B, T, H, gated), zeros at first, or null. Grid: as of `deep_read`.
__global__ void __launch_bounds__(THREADS)
deep_read_tokens_backward(const Token* q, const Real* states, const Real* gates, const int* first,
                          const int* last, const int* segment, int tokens, int heads, int segments,
                          int count, int gated, int keys, int width, int size, const Token* dy,
                          Token* dq, Real* d_gates) {
  Columns c{states, gates, first, last, segment, tokens, heads,
            segments, count, gated, keys, width, size};
  int b = blockIdx.y / heads, h = blockIdx.y % heads, t = blockIdx.x * ROWS;
  MC_ARENA(arena);
  Work w = take_work(arena, true);
  load<ROWS, KEYS>(w.q, BY_KEY, c.rows(q, b, t, h, keys, 0));
  load<ROWS, KEYS>(w.dy, BY_KEY, c.rows(dy, b, t, h, keys, 0));
  for (int i = threadIdx.x; i < ROWS; i += THREADS) w.total[i] = Real(0);
  Range seen = seen_by(c, b, t, ROWS, w.scratch);
  dot_rows(w);
  Answers d_query;
  d_query.clear();
  for (int column = seen.low; column < seen.high; ++column) {
    if (!weigh(c, b, t, h, column, ROWS, w.weights, w.scratch)) continue;
    for (int i = threadIdx.x; i < Hidden::WARPS * ROWS; i += THREADS) w.sums[i] = Real(0);
    for (int i = threadIdx.x; i < ROWS; i += THREADS) w.total[i] += w.weights[i];
    for (int slice = 0; slice < width; slice += SLICE) {
      __syncthreads();
      load_slice(c, b, column, h, slice, w);
      __syncthreads();
      hidden_backward(w, w.sums);
      __syncthreads();
      add_product(d_query, of(w.d_hidden, BY_UNIT), turned(w.w_in, BY_UNIT), SLICE);
    }
    for (int i = threadIdx.x; i < ROWS && d_gates; i += THREADS)
      if (w.weights[i] != Real(0))
        d_gates[c.token(b, t + i, h) * gated + column] = w.along[i] + row_sum<Hidden>(w.sums, i);
  }
  __syncthreads();
  Matrix<Token> out = c.rows(dq, b, t, h, keys, 0);
  d_query.each([&](int i, int j, Real x) { out.put(i, j, x + w.total[i] * w.dy[i * BY_KEY + j]); });
}

// d_states (B, C, H, P), of which the perceptrons are set. Grid: C slices, B H.
__global__ void __launch_bounds__(THREADS)
deep_read_states_backward(const Token* q, const Real* states, const Real* gates, const int* first,
                          const int* last, const int* segment, int tokens, int heads, int segments,
                          int count, int gated, int keys, int width, int size, const Token* dy,
                          Real* d_states) {
  Columns c{states, gates, first, last, segment, tokens, heads,
            segments, count, gated, keys, width, size};
  int b = blockIdx.y / heads, h = blockIdx.y % heads, column = blockIdx.x % count;
  int slice = blockIdx.x / count * SLICE;
  MC_ARENA(arena);
  Work w = take_work(arena, true);
  load_slice(c, b, column, h, slice, w);
  Tile<KEYS, SLICE, THREADS> d_in, d_out;
  d_in.clear();
  d_out.clear();
  for (int t = 0; t < tokens; t += ROWS) {
    if (!weigh(c, b, t, h, column, ROWS, w.weights, w.scratch)) continue;
    load<ROWS, KEYS>(w.q, BY_KEY, c.rows(q, b, t, h, keys, 0));
    load<ROWS, KEYS>(w.dy, BY_KEY, c.rows(dy, b, t, h, keys, 0));
    __syncthreads();
    hidden_backward(w, nullptr);
    __syncthreads();
    add_product(d_in, turned(w.q, BY_KEY), of(w.d_hidden, BY_UNIT), ROWS);
    add_product(d_out, turned(w.dy, BY_KEY), of(w.hidden, BY_UNIT), ROWS);
  }
  Real* at = d_states + c.state(b, column, h) + slice;
  Matrix<Real> first_layer{at, width, keys, width - slice};
  Matrix<Real> second_layer{at + keys * width, width, keys, width - slice};
  d_in.each([&](int i, int j, Real x) { first_layer.put(i, j, x); });
  d_out.each([&](int i, int j, Real x) { second_layer.put(i, j, x); });
}
