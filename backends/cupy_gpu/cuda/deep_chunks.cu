// Scan of deep memories chunk after chunk, forward: for each row and head, each run of segments. A
// chunk's gradients are all taken at the memory before it, so that a block of its tokens is a few
// matrix products.
#include "deep_advance.cuh"

// Answers of a block whose errors are found: adds a slice's part of Z to `answers`, of A_q A^T to
// `replies`.
__device__ __forceinline__ void ask_slice(const Call& c, Span p, int slice, const Block& x,
                                          const Real* q, Answers& answers, Pairs& replies,
                                          Real* hidden) {
  Hidden tile;
  ask_hidden(x, q, tile);
  Matrix<const Real> extra = rows_of(c, p, c.extra, c.width, slice);
  Matrix<Real> out = rows_of(c, p, hidden, c.width, slice);
  tile.each([&](int i, int j, Real before) {
    Real value = gelu_value(x.gate[i] * before + (c.extra ? extra.get(i, j) : Real(0)));
    x.query[i * BY_UNIT + j] = value;
    if (hidden) out.put(i, j, value);
  });
  __syncthreads();
  add_back(answers, rows_times(x.since, of(x.query, BY_UNIT)), x.w_out);
  if (x.s_out) add_back(answers, rows_times(x.lifted, of(x.query, BY_UNIT)), x.s_out);
  add_product(replies, of(x.query, BY_UNIT), turned(x.value, BY_UNIT), SLICE);
}

// One block: its answers, and the state after it in place of the one before. q takes the place of
// the errors, which nothing needs once the forces are there.
__device__ __forceinline__ void scan_block(const Call& c, Span p, const Block& x, Real* state,
                                           Token* reads, Real* hidden) {
  load_block(c, p, x);
  find_errors(c, p, anchor_of(c, p, state), x);
  load<ROWS, KEYS>(x.v, BY_KEY, rows_of(c, p, c.q, c.keys));
  keep_anchor(c, p, state, state);
  __syncthreads();
  Pairs pairs;
  pair_keys(x.v, x.k, pairs);
  pairs.each([&](int i, int j, Real dot) { x.asked[i * BY_ROW + j] = dot * x.pairs[i * BY_ROW + j]; });
  Answers answers;
  answers.clear();
  pairs.clear();
  for (int slice = 0; slice < c.width; slice += SLICE) {
    load_memory(c, p, state, slice, x, [](int, int, Gelu, Real) {});
    ask_slice(c, p, slice, x, x.v, answers, pairs, hidden);
    advance_slice(c, p, slice, x, state);
  }
  __syncthreads();
  pairs.each([&](int i, int j, Real dot) { x.asked[i * BY_ROW + j] = dot * x.pairs[i * BY_ROW + j]; });
  __syncthreads();
  add_product(answers, minus(of(x.asked, BY_ROW)), of(x.r, BY_KEY), ROWS);
  Matrix<Token> out = rows_of(c, p, reads, c.keys);
  answers.each([&](int i, int j, Real z) { out.put(i, j, x.v[i * BY_KEY + j] + x.gate[i] * z); });
}

// As `deep_scan`, for chunks of `chunk` tokens.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
deep_chunks(const Token* q, const Token* k, const Token* v, const Real* step, const Real* log_decay,
            const Real* momentum, const Real* delta, const Real* gate, const Real* extra,
            const Real* start, const Real* carry, const int* bounds, const int* restart,
            const int* offset, int rows, int tokens, int heads, int segments, int keys, int width,
            int size, int loss, int chunk, Token* reads, Real* checkpoints, Real* hidden) {
  Call c{q,      k,       v,      step, log_decay, momentum, delta,    gate, extra, start, carry,
         bounds, restart, offset, rows, tokens,    heads,    segments, keys, width, size,  loss};
  Place p = place_of(c, blockIdx.x);
  if (!c.begins_run(p.b, p.s)) return;
  MC_ARENA(arena);
  Block x = take_block(arena, momentum);
  for (int first = p.s, end = c.end_run(p.b, p.s); p.s < end; ++p.s) {
    Real* state = checkpoints + c.memory(p.b, p.s, p.h);
    const Real* came = c.before(checkpoints, p.b, p.s, first, p.h);
    bool empty = c.is_empty(p.b, p.s);
    for (int at = threadIdx.x; at < size; at += THREADS) state[at] = empty ? Real(0) : came[at];
    if (empty) continue;
    Blocks blocks(c, p, chunk);
    for (int i = 0; i < blocks.count(); ++i)
      scan_block(c, blocks.span(c, p, i), x, state, reads, hidden);
    __syncthreads();
  }
}
