// Scan of deep memories chunk after chunk, backward: segments from the last of each run, each of them
// replayed from the checkpoint before it, block after block from the last.
#define MC_DEPTH_UNROLL 1
#include "deep_between_back.cuh"
#include "deep_passes_back.cuh"
#include "run_backward.cuh"

static_assert(4 * (KEYS + ROWS) * BY_UNIT >= 2 * ROWS * BY_ROW, "room for coefficients");

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
  auto run = [&](Stretch stretch) { sow(replay, stretch, advance); };
  walk_back(replay, blocks.count(), const_cast<Real*>(start), 0, run, back);
}

// Gradients of `deep_chunks`, as of `deep_scan_backward`; of the scratch the first `more` places hold
// the gradient of the state, and two arrays (ROWS, E).
extern "C" __global__ void __launch_bounds__(THREADS, 1)
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
