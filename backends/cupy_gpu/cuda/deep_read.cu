// Cached reads of perceptrons: y_t = sum_i g_ti (q_t + gelu(q_t w_in^i) w_out^i), and the gradients
//
//   P = Q w_in    D = dY w_out^T    dP = g . gelu'(P) . D
//   dQ += g dY + dP w_in^T    dg = <dy, q> + <d, gelu(p)>
//   dw_in += Q^T dP           dw_out += (g . gelu(P))^T dY
//
// A block has a stretch of tokens, checkpoint after checkpoint; or a slice of one checkpoint, stretch
// after stretch. Perceptrons pass through shared memory in slices of hidden units. Of a stretch only
// those tokens go through a perceptron whose gate is not 0, so few gates cost little.
#include "deep_read_tile.cuh"

// y (B, T, H, K). Grid: stretches of `stretch` tokens, B H.
extern "C" __global__ void __launch_bounds__(THREADS)
deep_read(const Token* q, const Real* states, const Real* gates, const int* first, const int* last,
          const int* segment, int tokens, int heads, int segments, int count, int gated, int keys,
          int width, int size, int stretch, Real* y) {
  Columns c{states, gates, first, last, segment, tokens, heads,
            segments, count, gated, keys, width, size};
  int b = blockIdx.y / heads, h = blockIdx.y % heads, t = blockIdx.x * stretch;
  MC_ARENA(arena);
  Work whole = take_work(arena, false);
  clear_rows(c, b, t, stretch, h, y);
  Range seen = seen_by(c, b, t, stretch, whole.scratch);
  for (int column = seen.low; column < seen.high; ++column) {
    int found = choose(c, b, t, stretch, h, column, whole);
    for (int begin = 0; begin < found; begin += ROWS) {
      Work w = tile_of(whole, begin);
      Answers answers;
      answers.clear();
      gather(c, b, t, h, q, w, w.q);
      for (int slice = 0; slice < width; slice += SLICE) {
        load_slice(c, b, column, h, slice, w);
        __syncthreads();
        Hidden p;
        excite(w, p);
        p.each([&](int i, int j, Real x) { w.hidden[i * BY_UNIT + j] = w.weights[i] * gelu_value(x); });
        __syncthreads();
        add_product(answers, of(w.hidden, BY_UNIT), turned(w.w_out, BY_UNIT), SLICE);
        __syncthreads();
      }
      scatter(c, b, t, h, answers, w.q, w, y);
      __syncthreads();
    }
  }
}

// dq (B, T, H, K); sets of d_gates (B, T, H, gated), unless it is null, what is read. Grid: as of
// `deep_read`.
extern "C" __global__ void __launch_bounds__(THREADS)
deep_read_tokens_backward(const Token* q, const Real* states, const Real* gates, const int* first,
                          const int* last, const int* segment, int tokens, int heads, int segments,
                          int count, int gated, int keys, int width, int size, int stretch,
                          const Token* dy, Real* dq, Real* d_gates) {
  Columns c{states, gates, first, last, segment, tokens, heads,
            segments, count, gated, keys, width, size};
  int b = blockIdx.y / heads, h = blockIdx.y % heads, t = blockIdx.x * stretch;
  MC_ARENA(arena);
  Work whole = take_work(arena, true);
  clear_rows(c, b, t, stretch, h, dq);
  Range seen = seen_by(c, b, t, stretch, whole.scratch);
  for (int column = seen.low; column < seen.high; ++column) {
    int found = choose(c, b, t, stretch, h, column, whole);
    for (int begin = 0; begin < found; begin += ROWS) {
      Work w = tile_of(whole, begin);
      Answers d_query;
      d_query.clear();
      gather(c, b, t, h, q, w, w.q);
      gather(c, b, t, h, dy, w, w.dy);
      for (int i = threadIdx.x; i < Hidden::WARPS * ROWS; i += THREADS) w.sums[i] = Real(0);
      for (int slice = 0; slice < width; slice += SLICE) {
        load_slice(c, b, column, h, slice, w);
        __syncthreads();
        hidden_backward(w, w.sums);
        if (slice == 0) dot_rows(w);
        __syncthreads();
        add_product(d_query, of(w.d_hidden, BY_UNIT), turned(w.w_in, BY_UNIT), SLICE);
        __syncthreads();
      }
      scatter(c, b, t, h, d_query, w.dy, w, dq);
      for (int i = threadIdx.x; i < ROWS && d_gates; i += THREADS)
        if (w.chosen[i] >= 0)
          d_gates[c.token(b, t + w.chosen[i], h) * gated + column] =
              w.along[i] + row_sum<Hidden>(w.sums, i);
      __syncthreads();
    }
  }
}

// d_states (B, C, H, P), of which the perceptrons are set. Grid: C slices, B H.
extern "C" __global__ void __launch_bounds__(THREADS)
deep_read_states_backward(const Token* q, const Real* states, const Real* gates, const int* first,
                          const int* last, const int* segment, int tokens, int heads, int segments,
                          int count, int gated, int keys, int width, int size, const Token* dy,
                          Real* d_states) {
  Columns c{states, gates, first, last, segment, tokens, heads,
            segments, count, gated, keys, width, size};
  int b = blockIdx.y / heads, h = blockIdx.y % heads, column = blockIdx.x % count;
  int slice = blockIdx.x / count * SLICE;
  MC_ARENA(arena);
  Work whole = take_work(arena, true);
  load_slice(c, b, column, h, slice, whole);
  Tile<KEYS, SLICE, THREADS> d_in, d_out;
  d_in.clear();
  d_out.clear();
  for (int t = 0; t < tokens; t += STRETCH) {
    int found = choose(c, b, t, STRETCH, h, column, whole);
    for (int begin = 0; begin < found; begin += ROWS) {
      Work w = tile_of(whole, begin);
      gather(c, b, t, h, q, w, w.q);
      gather(c, b, t, h, dy, w, w.dy);
      __syncthreads();
      hidden_backward(w, nullptr);
      __syncthreads();
      add_product(d_in, turned(w.q, BY_KEY), of(w.d_hidden, BY_UNIT), ROWS);
      add_product(d_out, turned(w.dy, BY_KEY), of(w.hidden, BY_UNIT), ROWS);
      __syncthreads();
    }
  }
  Real* at = d_states + c.state(b, column, h) + slice;
  Matrix<Real> first_layer{at, width, keys, width - slice};
  Matrix<Real> second_layer{at + keys * width, width, keys, width - slice};
  d_in.each([&](int i, int j, Real x) { first_layer.put(i, j, x); });
  d_out.each([&](int i, int j, Real x) { second_layer.put(i, j, x); });
}
