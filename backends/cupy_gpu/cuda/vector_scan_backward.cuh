// Scan of a vector memory backwards: only the chain of gradients goes token by token. The gradient
// of U is one product over all tokens afterwards (`vector_recurrent.cu`).
#pragma once
#include "fold.cuh"
#include "vector_weights.cuh"

constexpr int BACK_QUADS = (Cell::GATES * WIDTH + 63) / 64;  // of each sixteenth of all columns
constexpr int BACK_APART = 64 * BACK_QUADS + BANKS_APART;

// What backward reads and writes at tokens; d_inner is that of h U_n where it differs from d_x.
struct BackwardTokens {
  const Real *before, *kept;
  const Token* d_reads;
  const Real* d_checkpoints;
  Token *d_x, *d_inner;
};

// What is read at a token for one channel.
struct Fetched {
  Real kept[Cell::KEPT], d_read, before;

  __device__ __forceinline__ void fetch_all(BackwardTokens tokens, long long at, int channel,
                                            int width, bool real) {
    fetch(kept, tokens.kept + at * Cell::KEPT * width + channel, width, real);
    d_read = real ? Real(tokens.d_reads[at * width + channel]) : Real(0);
    before = Cell::RESETS && real ? tokens.before[at * width + channel] : Real(0);
  }
  static __device__ __forceinline__ void ask_for(BackwardTokens tokens, long long at, int channel,
                                                 int width) {
    prefetch<Cell::KEPT>(tokens.kept + at * Cell::KEPT * width + channel, width);
    prefetch(tokens.d_reads + at * width + channel);
    if (Cell::RESETS) prefetch(tokens.before + at * width + channel);
  }
};

// One token of the owned channel: the gradient of the state moves to before it, but for U's part.
__device__ __forceinline__ void scan_token_back(const Run& run, Real (&d_state)[Cell::VECTORS],
                                                int t, const Fetched& given,
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
  d_state[0] += given.d_read;
  Real d_x[Cell::GATES];
  Cell::back(given.kept, given.before, d_state, d_x, d_product);
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
  Real* d_products = arena.take<Real>(2 * ROWS * BACK_APART);
  for (int i = threadIdx.x; i < 2 * ROWS * BACK_APART; i += THREADS) d_products[i] = Real(0);
  Weights<BACK_QUADS, 4> weights;
  load_rows(weights, arena, recurrent + (long long)head * width * GATES * width, width);
  Run run(runs, blockIdx.x * ROWS + owned_row());
  Real d_state[VECTORS] = {}, sums[4 * ROWS];
  Fetched now, next;
  if (run.begin < run.end) run.enter(runs, sizes, run.end - 1);
  long long own = run.token(run.end - 1, head, sizes);
  next.fetch_all(at, own, channel, width, real && run.begin < run.end);
  __syncthreads();
  for (int step = 0, steps = steps_of_block(runs); step < steps; ++step) {
    int t = run.end - 1 - step;
    bool active = t >= run.begin && real;
    now = next;
    own -= heads;
    next.fetch_all(at, own, channel, width, active && t > run.begin);
    if (active && t - AHEAD >= run.begin)
      Fetched::ask_for(at, own - (AHEAD - 1) * heads, channel, width);
    Real d_product[GATES] = {}, *row = d_products + (step % 2 * ROWS + owned_row()) * BACK_APART;
    if (active && first_owner())
      scan_token_back(run, d_state, t, now, d_product, at, head, channel, sizes);
    if (first_owner())
      for (int gate = 0; gate < GATES; ++gate) row[gate * WIDTH + channel] = d_product[gate];
    if (t > run.begin && t == run.first) run.enter(runs, sizes, t - 1);
    __syncthreads();
    const Real* vectors = d_products + step % 2 * ROWS * BACK_APART + 4 * sixteenth;
    weights.product(reinterpret_cast<const Quad*>(vectors), BACK_APART / 4, 16, sums);
    fold<4 * ROWS, 16>(sums);
    d_state[0] += sums[0];
  }
  if (d_carry && run.carried && real && first_owner())
    put(d_carry + run.start(head, sizes) * VECTORS * width + channel, width, d_state);
}
