// Scan of deep memories chunk after chunk, backward: segments from the last of each run, each of them
// replayed from the checkpoint before it, block after block from the last.
#define MC_DEPTH_UNROLL 1
#include "deep_block_back.cuh"
#include "deep_coefficients.cuh"
#include "run_backward.cuh"

static_assert(4 * (KEYS + ROWS) * BY_UNIT >= 2 * ROWS * BY_ROW, "room for coefficients");

// Global memory of a block: the gradient of the state; of A and of down (ROWS, E), between two passes.
struct Room {
  Real *d, *value, *down;
};

// The first pass over the slices: all but what needs the gradient of the errors.
__device__ __forceinline__ void slice_backward(const Call& c, Span p, int slice, const Block& x,
                                               const Turned& y, const Gradients& g, Real* before,
                                               const Room& room, Totals& totals) {
  Real slope[Hidden::OWN][4];
  load_memory(c, p, before, slice, x, [&](int own, int part, Gelu z, Real pulled) {
    slope[own][part] = z.slope;
  });
  load<KEYS, SLICE>(y.g_in, BY_UNIT, slice_of(c, room.d, 0, slice));
  load<KEYS, SLICE>(y.g_out, BY_UNIT, slice_of(c, room.d, 1, slice));
  if (x.s_in) load<KEYS, SLICE>(y.g_s_in, BY_UNIT, slice_of(c, room.d, 2, slice));
  if (x.s_in) load<KEYS, SLICE>(y.g_s_out, BY_UNIT, slice_of(c, room.d, 3, slice));
  query_backward(c, p, slice, x, y, g.hidden, g.extra);
  add_product(totals.replies, of(x.query, BY_UNIT), turned(x.value, BY_UNIT), SLICE);
  add_product(totals.asked, of(y.d_query, BY_UNIT), turned(x.down, BY_UNIT), SLICE);
  add_back(totals.in, of(y.d_query, BY_UNIT), x.w_in);
  if (x.s_in) add_back(totals.in_moved, of(y.d_query, BY_UNIT), x.s_in);
  Hidden d_value, d_down;
  d_value.clear();
  add_product(d_value, minus(columns_times(x.gate, turned(y.replied, BY_ROW))),
              of(x.query, BY_UNIT), ROWS);
  written_backward(x, y, x.r, x.value, y.g_out, y.g_s_out, d_value);
  d_down.clear();
  add_product(d_down, minus(columns_times(x.gate, turned(x.asked, BY_ROW))),
              of(y.d_query, BY_UNIT), ROWS);
  written_backward(x, y, x.k, x.down, y.g_in, y.g_s_in, d_down);
  add_back(totals.k, minus(rows_times(x.until, of(x.down, BY_UNIT))), y.g_in);
  add_back(totals.r, minus(rows_times(x.until, of(x.value, BY_UNIT))), y.g_out);
  if (x.s_in) add_back(totals.k, minus(rows_times(x.pushed, of(x.down, BY_UNIT))), y.g_s_in);
  if (x.s_in) add_back(totals.r, minus(rows_times(x.pushed, of(x.value, BY_UNIT))), y.g_s_out);
  layer_backward(c, p, 0, slice, x, y, room.d, totals);
  layer_backward(c, p, 1, slice, x, y, room.d, totals);
  __syncthreads();
  each_place<Hidden>([&](int i, int j, int own, int part) {
    y.d_query[i * BY_UNIT + j] = d_down.x[own][part] * slope[own][part];
    if (slice + j >= c.width) return;
    room.value[i * c.width + slice + j] = d_value.x[own][part];
    room.down[i * c.width + slice + j] = d_down.x[own][part];
  });
  if (!p.opens) load_layers(c, anchor_of(c, p, before), slice, x);
  __syncthreads();
  add_back(totals.r, of(y.d_query, BY_UNIT), x.w_out);
}

// The second: from the gradient of the answers M(k) in y.dy to those of k and of the anchor.
__device__ __forceinline__ void inner_backward(const Call& c, Span p, int slice, const Block& x,
                                               const Turned& y, Real* before, const Room& room,
                                               Totals& totals) {
  Hidden d_h, d_value;
  __syncthreads();
  load_layers(c, anchor_of(c, p, before), slice, x);
  inner_gradient(x, [&](int own, int part, Gelu z, Real pulled) {
    d_h.x[own][part] = z.curvature * pulled;
    d_value.x[own][part] = z.slope;
  });
  Hidden through;
  times(through, y.dy, x.w_out);
  each_place<Hidden>([&](int i, int j, int own, int part) {
    bool real = slice + j < c.width;
    long long at = (long long)i * c.width + slice + j;
    Real value = real ? room.value[at] : Real(0), down = real ? room.down[at] : Real(0);
    Real slope = d_value.x[own][part];
    x.query[i * BY_UNIT + j] = down * slope;
    y.d_query[i * BY_UNIT + j] =
        (value + through.x[own][part]) * slope + down * d_h.x[own][part];
  });
  __syncthreads();
  add_back(totals.k, of(y.d_query, BY_UNIT), x.w_in);
  Real* d = anchor_of(c, p, room.d);
  Matrix<Real> d_in = slice_of(c, d, 0, slice), d_out = slice_of(c, d, 1, slice);
  Layer written;
  written.clear();
  add_product(written, turned(x.k, BY_KEY), of(y.d_query, BY_UNIT), ROWS);
  written.each([&](int i, int j, Real value) { d_in.put(i, j, d_in.get(i, j) + value); });
  written.clear();
  add_product(written, turned(y.dy, BY_KEY), of(x.value, BY_UNIT), ROWS);
  add_product(written, turned(x.r, BY_KEY), of(x.query, BY_UNIT), ROWS);
  written.each([&](int i, int j, Real value) { d_out.put(i, j, d_out.get(i, j) + value); });
}

// Loads the block, finds its errors, and sets what all slices need.
__device__ __forceinline__ void begin_block(const Call& c, Span p, const Block& x, const Turned& y,
                                            const Token* dy, const Real* before) {
  load_block(c, p, x);
  load<ROWS, KEYS>(y.q, BY_KEY, rows_of(c, p, c.q, c.keys));
  load<ROWS, KEYS>(y.dy, BY_KEY, rows_of(c, p, dy, c.keys));
  for (int i = threadIdx.x; i < ROWS; i += THREADS) {
    y.since[i] = x.gate[i] * x.since[i];
    y.lifted[i] = x.gate[i] * x.lifted[i];
  }
  for (int i = threadIdx.x; i < SUMS * EACH; i += THREADS) y.sums[i] = Real(0);
  find_errors(c, p, anchor_of(c, p, before), x);
  Pairs asked, replied;
  pair_keys(y.q, x.k, asked);
  pair_keys(y.dy, x.r, replied);
  each_place<Pairs>([&](int i, int j, int own, int part) {
    int at = i * BY_ROW + j;
    x.asked[at] = x.pairs[at] * asked.x[own][part];
    y.replied[at] = x.pairs[at] * replied.x[own][part];
  });
}

// Between the passes, of pairs: their gradient in x.pairs; with the totals in place of the pairs'
// products, g pairs d_hidden down^T in x.asked and g pairs A_q A^T in y.replied. Ends with a barrier.
__device__ __forceinline__ void pairs_backward(const Block& x, const Turned& y, Totals& totals) {
  Pairs asked, replied;
  pair_keys(y.q, x.k, asked);
  pair_keys(y.dy, x.r, replied);
  each_place<Pairs>([&](int i, int j, int own, int part) {
    int at = i * BY_ROW + j;
    Real pair = x.pairs[at], gated = x.gate[i] * pair;
    Real d = -asked.x[own][part] * totals.asked.x[own][part] -
             replied.x[own][part] * totals.replies.x[own][part];
    if (j > i) d = Real(0);
    x.asked[at] = gated * totals.asked.x[own][part];
    y.replied[at] = gated * totals.replies.x[own][part];
    x.pairs[at] = x.gate[i] * d;
    asked.x[own][part] = pair * d;
  });
  add_row_sums<Pairs>(y.sums + 4 * EACH,
                      [&](int, int, int own, int part) { return asked.x[own][part]; });
  add_row_sums<Answers>(y.sums, [&](int i, int j, int own, int part) {
    return y.q[i * BY_KEY + j] * totals.in.x[own][part];
  });
  add_row_sums<Answers>(y.sums + EACH, [&](int i, int j, int own, int part) {
    return y.q[i * BY_KEY + j] * totals.in_moved.x[own][part];
  });
  __syncthreads();
}

// dq; adds what pairs give to the gradients of k and r.
__device__ __forceinline__ void rows_backward(const Call& c, Span p, const Block& x,
                                              const Turned& y, Token* dq, Totals& totals) {
  each_place<Answers>([&](int i, int j, int own, int part) {
    totals.in.x[own][part] = y.dy[i * BY_KEY + j] + y.since[i] * totals.in.x[own][part] +
                             y.lifted[i] * totals.in_moved.x[own][part];
  });
  add_product(totals.in, minus(of(x.asked, BY_ROW)), of(x.k, BY_KEY), ROWS);
  add_product(totals.k, minus(turned(x.asked, BY_ROW)), of(y.q, BY_KEY), ROWS);
  add_product(totals.r, minus(turned(y.replied, BY_ROW)), of(y.dy, BY_KEY), ROWS);
  Matrix<Token> out = rows_of(c, p, dq, c.keys);
  totals.in.each([&](int i, int j, Real value) { out.put(i, j, value); });
}

// Gradients of the other coefficients, and of the gate. Ends with a barrier.
__device__ __forceinline__ void numbers_backward(const Call& c, Span p, const Block& x,
                                                 const Turned& y, Real* d_gate,
                                                 const Coefficients& d, const Totals& totals) {
  Real since = block_sum(totals.decayed[0], y.scratch);
  Real lifted = block_sum(totals.decayed[1], y.scratch);
  Real kept = block_sum(totals.decayed[2], y.scratch);
  for (int i = threadIdx.x; i < ROWS; i += THREADS) {
    bool last = i == p.count - 1;
    Real of_since = row_sum<Hidden>(y.sums, i), of_lifted = row_sum<Hidden>(y.sums + EACH, i);
    Real gate = row_sum<Hidden>(y.sums + 4 * EACH, i) + x.since[i] * of_since +
                x.lifted[i] * of_lifted;
    d.since[i] = x.gate[i] * of_since + (last ? since : Real(0));
    d.lifted[i] = x.gate[i] * of_lifted + (last ? lifted : Real(0));
    d.until[i] = row_sum<Hidden>(y.sums + 2 * EACH, i);
    d.pushed[i] = row_sum<Hidden>(y.sums + 3 * EACH, i);
    if (last) *d.kept = kept;
    if (d_gate && i < p.count) d_gate[c.token(p.b, p.begin + i, p.h)] = gate;
  }
  __syncthreads();
}

// From the gradient of R to that of M(k), in y.dy; dv and the gradient of delta.
__device__ __forceinline__ void errors_backward(const Call& c, Span p, const Block& x,
                                                const Turned& y, const Gradients& g,
                                                Totals& totals) {
  totals.r.each([&](int i, int j, Real value) { y.dy[i * BY_KEY + j] = value; });
  __syncthreads();
  for (int i = threadIdx.x >> 5; i < p.count; i += THREADS / 32) {
    int row = i * BY_KEY;
    Real d_delta =
        error_backward(c.loss, x.delta[i], c.keys, x.v + row, y.dy + row, y.q + row);
    if (g.delta && (threadIdx.x & 31) == 0) g.delta[c.token(p.b, p.begin + i, p.h)] = d_delta;
  }
  __syncthreads();
  store<ROWS, KEYS>(rows_of(c, p, g.v, c.keys), y.q, BY_KEY);
  each_place<Answers>([&](int i, int j, int own, int part) {
    totals.k.x[own][part] += y.dy[i * BY_KEY + j];
  });
}

// All of a block, given the state before it; room.d goes from after it to before it.
__device__ __forceinline__ void block_backward(const Call& c, Span p, const Block& x,
                                               const Turned& y, const Gradients& g, Real* before,
                                               const Room& room) {
  Totals totals{};
  Coefficients d{x.pairs,         y.scalars,          y.scalars + ROWS, y.scalars + 2 * ROWS,
                 y.scalars + 3 * ROWS, y.scalars + 4 * ROWS};
  begin_block(c, p, x, y, g.dy, before);
  for (int slice = 0; slice < c.width; slice += SLICE)
    slice_backward(c, p, slice, x, y, g, before, room, totals);
  __syncthreads();
  pairs_backward(x, y, totals);
  rows_backward(c, p, x, y, g.q, totals);
  numbers_backward(c, p, x, y, g.gate, d, totals);
  errors_backward(c, p, x, y, g, totals);
  for (int slice = 0; slice < c.width; slice += SLICE)
    inner_backward(c, p, slice, x, y, before, room, totals);
  Matrix<Token> dk = rows_of(c, p, g.k, c.keys);
  totals.k.each([&](int i, int j, Real value) { dk.put(i, j, value); });
  coefficients_backward(c, p, x, d, x.w_in, g.step, g.log_decay, g.momentum);
}

// Segment `p`, through which room.d goes from its end to its start.
__device__ __forceinline__ void segment_backward(const Call& c, const Gradients& g, Place p,
                                                 int chunk, const Real* start, const Block& x,
                                                 const Turned& y, const Room& room,
                                                 const Replay& replay) {
  Blocks blocks(c, p, chunk);
  auto advance = [&](int step, Real* before, Real* after) {
    Span span = blocks.span(c, p, step);
    load_block(c, span, x);
    find_errors(c, span, anchor_of(c, span, before), x);
    keep_anchor(c, span, before, after);
    for (int slice = 0; slice < c.width; slice += SLICE) {
      load_memory(c, span, before, slice, x, [](int, int, Gelu, Real) {});
      advance_slice(c, span, slice, x, after);
    }
  };
  auto back = [&](int step, Real* before, Real*) {
    block_backward(c, blocks.span(c, p, step), x, y, g, before, room);
  };
  walk_back(replay, blocks.count(), const_cast<Real*>(start), 0, advance, back);
}

// Gradients of `deep_chunks`, as of `deep_scan_backward`; of the scratch the first `more` places hold
// the gradient of the state, and two arrays (ROWS, E).
__global__ void __launch_bounds__(THREADS, 1)
deep_chunks_backward(
    const Token* q, const Token* k, const Token* v, const Real* step, const Real* log_decay,
    const Real* momentum, const Real* delta, const Real* gate, const Real* extra, const Real* start,
    const Real* carry, const int* bounds, const int* restart, const int* offset, int rows,
    int tokens, int heads, int segments, int keys, int width, int size, int loss, int chunk,
    const Real* checkpoints, const Token* d_reads, const Real* d_checkpoints, const Real* d_hidden,
    Real* scratch, int places, int more, int top, int middle, int tops, int middles, Token* dq,
    Token* dk, Token* dv, Real* d_step, Real* d_log_decay, Real* d_momentum, Real* d_delta,
    Real* d_gate, Real* d_extra, Real* d_start, Real* d_carry) {
  Call c{q,      k,       v,      step, log_decay, momentum, delta,    gate, extra, start, carry,
         bounds, restart, offset, rows, tokens,    heads,    segments, keys, width, size,  loss};
  Gradients g{d_reads,     d_hidden,   dq,      dk,     dv,    d_step,
              d_log_decay, d_momentum, d_delta, d_gate, d_extra};
  MC_ARENA(arena);
  Block x = take_block(arena, momentum);
  Turned y = take_turned(arena, momentum);
  scratch += (long long)blockIdx.x * places * size;
  Room room{scratch, scratch + size, scratch + size + ROWS * width};
  Replay replay{scratch + (long long)more * size, size, top, middle, tops, middles};
  State d{room.d, room.d + c.both()};
  auto segment = [&](Place p, const Real* before) {
    segment_backward(c, g, p, chunk, before, x, y, room, replay);
  };
  for (int task = blockIdx.x; task < rows * heads * segments; task += gridDim.x)
    run_backward(c, place_of(c, task), checkpoints, d_checkpoints, d, d_start, d_carry, segment);
}
