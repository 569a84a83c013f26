// Scan of a vector memory backwards: only the chain of gradients goes token by token. The gradient
// of U is one product over all tokens afterwards (`vector_recurrent.cu`).
#pragma once
#include "fold.cuh"
#include "vector_weights.cuh"

constexpr int BACK_QUADS = (Cell::GATES * WIDTH + 63) / 64;  // of each sixteenth of all columns
constexpr int BACK_LENGTH = 64 * BACK_QUADS;

// What backward reads and writes at tokens; d_inner is that of h U_n where it differs from d_x.
struct BackwardTokens {
  const Real *before, *kept;
  const Token* d_reads;
  const Real* d_checkpoints;
  Token *d_x, *d_inner;
};

// One token of the owned channel: the gradient of the state moves to before it, but for U's part.
__device__ __forceinline__ void scan_token_back(const Run& run, Real (&d_state)[Cell::VECTORS],
                                                int t, const Real (&kept)[Cell::KEPT],
                                                Real (&d_product)[Cell::GATES],
                                                BackwardTokens tokens, int head, int channel,
                                                Sizes sizes) {
  long long at = run.token(t, head, sizes), width = sizes.width;
  if (t + 1 == run.border) {
    Real d_end[Cell::VECTORS];
    long long place = run.checkpoint(head, sizes) * Cell::VECTORS * width + channel;
    fetch(d_end, tokens.d_checkpoints + place, sizes.width, true);
    for (int e = 0; e < Cell::VECTORS; ++e) d_state[e] += d_end[e];
  }
  d_state[0] += Real(tokens.d_reads[at * width + channel]);
  Real d_x[Cell::GATES];
  Real h = Cell::RESETS ? tokens.before[at * width + channel] : Real(0);
  Cell::back(kept, h, d_state, d_x, d_product);
  put(tokens.d_x + at * Cell::GATES * width + channel, sizes.width, d_x);
  if (Cell::RESETS) tokens.d_inner[at * width + channel] = Token(d_product[Cell::GATES - 1]);
}

// Four channels' rows of U for sixteen threads, which share out its columns.
__device__ __forceinline__ void load_rows(Weights<BACK_QUADS, 4>& weights, Arena& arena,
                                          const Real* recurrent, int width) {
  int channel = threadIdx.x >> 4 << 2, sixteenth = threadIdx.x & 15;
  weights.load(arena, [&](int q, int part, int c) {
    int column = 4 * (sixteenth + 16 * q) + part, gate = column / WIDTH, j = column % WIDTH;
    bool real = channel + c < width && gate < Cell::GATES && j < width;
    return real ? recurrent[((channel + c) * Cell::GATES + gate) * width + j] : Real(0);
  });
}

extern "C" __global__ void __launch_bounds__(4 * MC_WIDTH)
vector_scan_backward(const int* table, const int* bounds, const int* segments,
                     const Real* recurrent, const Real* before, const Real* kept,
                     const Token* d_reads, const Real* d_checkpoints, Token* d_x, Token* d_inner,
                     Real* d_carry, int count, int segment_count, int tokens, int heads,
                     int width) {
  constexpr int GATES = Cell::GATES, VECTORS = Cell::VECTORS;
  MC_ARENA(arena);
  Runs runs{table, bounds, segments, count};
  Sizes sizes{segment_count, tokens, heads, width};
  BackwardTokens at{before, kept, d_reads, d_checkpoints, d_x, d_inner};
  int head = blockIdx.y, channel = threadIdx.x >> 2, sixteenth = threadIdx.x & 15;
  bool real = channel < width;
  Real* d_products = arena.take<Real>(2 * ROWS * BACK_LENGTH);
  for (int i = threadIdx.x; i < 2 * ROWS * BACK_LENGTH; i += THREADS) d_products[i] = Real(0);
  Weights<BACK_QUADS, 4> weights;
  load_rows(weights, arena, recurrent + (long long)head * width * GATES * width, width);
  Run run(runs, blockIdx.x * ROWS + owned_row());
  Real d_state[VECTORS] = {}, kept_now[Cell::KEPT], kept_next[Cell::KEPT], sums[4 * ROWS];
  if (run.begin < run.end) run.enter(runs, sizes, run.end - 1);
  const Real* own_kept = kept + run.token(run.end - 1, head, sizes) * Cell::KEPT * width + channel;
  fetch(kept_next, own_kept, width, real && run.begin < run.end);
  __syncthreads();
  for (int step = 0, steps = steps_of_block(runs); step < steps; ++step) {
    int t = run.end - 1 - step;
    bool active = t >= run.begin && real;
    for (int i = 0; i < Cell::KEPT; ++i) kept_now[i] = kept_next[i];
    own_kept -= (long long)heads * Cell::KEPT * width;
    fetch(kept_next, own_kept, width, active && t > run.begin);
    Real d_product[GATES] = {}, *row = d_products + (step % 2 * ROWS + owned_row()) * BACK_LENGTH;
    if (active && first_owner())
      scan_token_back(run, d_state, t, kept_now, d_product, at, head, channel, sizes);
    if (first_owner())
      for (int gate = 0; gate < GATES; ++gate) row[gate * WIDTH + channel] = d_product[gate];
    if (t > run.begin && t == run.first) run.enter(runs, sizes, t - 1);
    __syncthreads();
    const Real* vectors = d_products + step % 2 * ROWS * BACK_LENGTH + 4 * sixteenth;
    weights.product(reinterpret_cast<const Quad*>(vectors), BACK_LENGTH / 4, 16, sums);
    fold<4 * ROWS, 16>(sums);
    d_state[0] += sums[0];
  }
  if (d_carry && run.carried && real && first_owner())
    put(d_carry + run.start(head, sizes) * VECTORS * width + channel, width, d_state);
}
