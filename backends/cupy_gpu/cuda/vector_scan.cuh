// Scan of a vector memory, all steps of some runs of one head in a block; `Cell` is the rule.
#pragma once
#include "fold.cuh"
#include "vector_weights.cuh"

// What forward writes: answers, states at segments' ends, h before each token, what `Cell` keeps.
struct ScanOutput {
  Token* reads;
  Real *checkpoints, *before, *kept;
};

// One token of the owned channel: the state moves on, everything is stored that is asked for.
__device__ __forceinline__ void scan_token(Run& run, Real (&state)[Cell::VECTORS], int t,
                                           const Real (&x)[Cell::GATES],
                                           const Real (&product)[Cell::GATES], Real bias,
                                           ScanOutput out, int head, int channel, Sizes sizes) {
  long long at = run.token(t, head, sizes);
  Real kept[Cell::KEPT];
  out.before[at * sizes.width + channel] = state[0];
  Cell::token(x, product, bias, state, kept);
  put(out.kept + at * Cell::KEPT * sizes.width + channel, sizes.width, kept);
  out.reads[at * sizes.width + channel] = Token(state[0]);
  if (t + 1 < run.border) return;
  long long place = run.checkpoint(head, sizes) * Cell::VECTORS * sizes.width + channel;
  put(out.checkpoints + place, sizes.width, state);
}

__device__ __forceinline__ void load_columns(Weights<WIDTH / 16, Cell::GATES>& weights,
                                             Arena& arena, const Real* recurrent, int width) {
  int channel = threadIdx.x >> 2, quarter = threadIdx.x & 3;
  weights.load(arena, [&](int q, int part, int gate) {
    int row = 4 * (quarter + 4 * q) + part;
    bool real = row < width && channel < width;
    return real ? recurrent[(row * Cell::GATES + gate) * width + channel] : Real(0);
  });
}

extern "C" __global__ void __launch_bounds__(4 * MC_WIDTH)
vector_scan(const int* table, const int* bounds, const int* segments, const Token* x,
            const Real* recurrent, const Real* bias, const Real* carry, Token* reads,
            Real* checkpoints, Real* before, Real* kept, int count, int segment_count, int tokens,
            int heads, int width) {
  constexpr int GATES = Cell::GATES, VECTORS = Cell::VECTORS, APART = WIDTH + BANKS_APART;
  MC_ARENA(arena);
  Runs runs{table, bounds, segments, count};
  Sizes sizes{segment_count, tokens, heads, width};
  ScanOutput out{reads, checkpoints, before, kept};
  int head = blockIdx.y, channel = threadIdx.x >> 2, quarter = threadIdx.x & 3;
  bool real = channel < width;
  Real* hidden = arena.take<Real>(2 * ROWS * APART);
  Weights<WIDTH / 16, GATES> weights;
  load_columns(weights, arena, recurrent + (long long)head * width * GATES * width, width);
  Run run(runs, blockIdx.x * ROWS + owned_row());
  Real own_bias = bias && real ? bias[head * width + channel] : Real(0);
  Real state[VECTORS], x_now[GATES], x_next[GATES], product[GATES * ROWS];
  fetch(state, carry + run.start(head, sizes) * VECTORS * width + channel, width,
        real && carry && run.carried);
  long long own = run.token(run.begin, head, sizes);
  fetch(x_next, x + own * GATES * width + channel, width, real && run.begin < run.end);
  if (run.begin < run.end) run.enter(runs, sizes, run.begin);
  if (first_owner()) hidden[owned_row() * APART + channel] = state[0];
  __syncthreads();
  for (int step = 0, steps = steps_of_block(runs); step < steps; ++step) {
    int t = run.begin + step;
    for (int gate = 0; gate < GATES; ++gate) x_now[gate] = x_next[gate];
    own += heads;
    fetch(x_next, x + own * GATES * width + channel, width, real && t + 1 < run.end);
    if (real && t + AHEAD < run.end)
      prefetch<GATES>(x + (own + (AHEAD - 1) * heads) * GATES * width + channel, width);
    const Real* vectors = hidden + step % 2 * ROWS * APART + 4 * quarter;
    weights.product(reinterpret_cast<const Quad*>(vectors), APART / 4, 4, product);
    Real sums[GATES];
#pragma unroll
    for (int gate = 0; gate < GATES; ++gate) {
      fold<ROWS, 4>(product + gate * ROWS);
      sums[gate] = product[gate * ROWS];
    }
    if (t < run.end && real && first_owner())
      scan_token(run, state, t, x_now, sums, own_bias, out, head, channel, sizes);
    if (t + 1 == run.border && t + 1 < run.end) run.enter(runs, sizes, t + 1);
    Real* next = hidden + ((1 - step % 2) * ROWS + owned_row()) * APART;
    if (first_owner()) next[channel] = state[0];
    __syncthreads();
  }
}
