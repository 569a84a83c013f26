// Scan of deep memories token after token, backward: segments from the last of each run, each of them
// replayed from the checkpoint before it.
#include "deep_back.cuh"
#include "deep_held.cuh"
#include "run_backward.cuh"

// Replays a stretch of a segment that begins with token `begin`. Apart from its caller, so that each
// has all registers to itself; hence arguments by value.
__device__ __noinline__ void replay_held(Call c, Place p, int begin, Replay replay, Stretch stretch,
                                         Vectors x, Real* parts) {
  if (stretch.begin == stretch.end) return;
  Held held;
  take_in(c, stretch.first, held);
  sow(replay, stretch, [&](int step, Real* before, Real* after) {
    long long at = c.token(p.b, begin + step, p.h);
    load_token(c, at, x);
    write_held(c, at, held, before + c.both(), after + c.both(), x, parts);
    if (after != replay.work()) put_out(c, held, after);
    __syncthreads();
  });
}

// Segment `p`, through which `d` goes from its end to its start.
__device__ __forceinline__ void segment_backward(const Call& c, const Gradients& g, Place p,
                                                 int image, const Real* start, State d,
                                                 const Replay& replay, const Vectors& x,
                                                 const Turned& y, Real* parts) {
  int begin = c.begin(p.b, p.s), count = c.begin(p.b, p.s + 1) - begin;
  auto run = [&](Stretch stretch) {
    if (KEYS > 0) return replay_held(c, p, begin, replay, stretch, x, parts);
    sow(replay, stretch, [&](int step, Real* before, Real* after) {
      long long at = c.token(p.b, begin + step, p.h);
      load_token(c, at, x);
      write_token(c, at, image, c.state(before), c.state(after), x);
      __syncthreads();
    });
  };
  auto back = [&](int step, Real* before, Real* after) {
    token_backward(c, g, c.token(p.b, begin + step, p.h), image, c.state(before), c.state(after), d,
                   x, y);
  };
  walk_back(replay, count, const_cast<Real*>(start), 1, run, back);
}

// Gradients of `deep_scan`. d_start (B, S, H, P): of the start, zero for segments that go on.
// scratch (blocks, places, P): the first `more` = 1 is the gradient of the state, of which `held`
// numbers lie in shared memory; the others are for `Replay`.
extern "C" __global__ void __launch_bounds__(256, 1)
deep_scan_backward(
    const Token* q, const Token* k, const Token* v, const Real* step, const Real* log_decay,
    const Real* momentum, const Real* delta, const Real* gate, const Real* extra, const Real* start,
    const Real* carry, const int* bounds, const int* restart, const int* offset, int rows,
    int tokens, int heads, int segments, int keys, int width, int size, int loss, int image,
    int held, const Real* checkpoints, const Token* d_reads, const Real* d_checkpoints,
    const Real* d_hidden, Real* scratch, int places, int more,
    int top, int middle, int tops, int middles,
    Token* dq, Token* dk, Token* dv, Real* d_step, Real* d_log_decay, Real* d_momentum,
    Real* d_delta, Real* d_gate, Real* d_extra, Real* d_start, Real* d_carry) {
  Call c{q,      k,       v,      step, log_decay, momentum, delta,    gate, extra, start, carry,
         bounds, restart, offset, rows, tokens,    heads,    segments, keys, width, size,  loss};
  Gradients g{d_reads,     d_hidden,   dq,      dk,     dv,    d_step,
              d_log_decay, d_momentum, d_delta, d_gate, d_extra};
  MC_ARENA(arena);
  Vectors x = take_vectors(arena, keys, width);
  Turned y = take_turned(arena, keys, width);
  Real* shared = arena.take<Real>(held);
  Real* parts = arena.take<Real>(blockDim.x / 32 * KEYS);
  scratch += (long long)blockIdx.x * places * size;
  State d{held ? shared : scratch, (held == size ? shared : scratch) + c.both()};
  Replay replay{scratch + (long long)more * size, size, top, middle, tops, middles};
  auto segment = [&](Place p, const Real* before) {
    segment_backward(c, g, p, image, before, d, replay, x, y, parts);
  };
  for (int task = blockIdx.x; task < rows * heads * segments; task += gridDim.x)
    run_backward(c, place_of(c, task), checkpoints, d_checkpoints, d, d_start, d_carry, segment);
}
