// Vector memories too wide for one multiprocessor: h U of all runs is a product outside, and these
// kernels do the rest of a step. States are (vectors, heads, runs, V), products (heads, runs, G V).
#pragma once
#include "vector_scan.cuh"
#include "vector_scan_backward.cuh"

// Which channel of which run a thread does.
struct Spot {
  int index, head, channel;
  __device__ __forceinline__ Spot(int count, Sizes sizes) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    channel = int(at % sizes.width);
    index = int(at / sizes.width % count);
    head = int(at / sizes.width / count);
  }
  // Into (heads, runs, planes V).
  __device__ __forceinline__ long long of(int planes, int count, Sizes sizes) const {
    return ((long long)head * count + index) * planes * sizes.width + channel;
  }
};

// From one of the state's vectors to the next.
__device__ __forceinline__ long long vector_size(int count, Sizes sizes) {
  return (long long)sizes.heads * count * sizes.width;
}

// The states with which the runs begin.
extern "C" __global__ void __launch_bounds__(256)
vector_begin(const int* table, const Real* carry, Real* states, int count, int heads, int width) {
  Sizes sizes{0, 0, heads, width};
  Spot spot(count, sizes);
  if (spot.head >= heads) return;
  Run run(Runs{table, nullptr, nullptr, count}, spot.index);
  for (int e = 0; e < Cell::VECTORS; ++e) {
    long long at = (run.start(spot.head, sizes) * Cell::VECTORS + e) * width + spot.channel;
    Real start = run.carried && carry ? carry[at] : Real(0);
    states[e * vector_size(count, sizes) + spot.of(1, count, sizes)] = start;
  }
}

// Step `step` of every run, given h U.
extern "C" __global__ void __launch_bounds__(256)
vector_step(const int* table, const int* bounds, const int* segments, const Token* x,
            const Real* products, const Real* bias, Real* states, Token* reads, Real* checkpoints,
            Real* before, Real* kept, int step, int count, int segment_count, int tokens, int heads,
            int width) {
  Sizes sizes{segment_count, tokens, heads, width};
  Runs runs{table, bounds, segments, count};
  Spot spot(count, sizes);
  if (spot.head >= heads) return;
  Run run(runs, spot.index);
  int t = run.begin + step;
  if (t >= run.end) return;
  run.enter(runs, sizes, t);
  Real x_now[Cell::GATES], product[Cell::GATES], state[Cell::VECTORS];
  long long at = run.token(t, spot.head, sizes) * Cell::GATES * width + spot.channel;
  fetch(x_now, x + at, width, true);
  fetch(product, products + spot.of(Cell::GATES, count, sizes), width, true);
  Real* own = states + spot.of(1, count, sizes);
  for (int e = 0; e < Cell::VECTORS; ++e) state[e] = own[e * vector_size(count, sizes)];
  scan_token(run, state, t, x_now, product, bias ? bias[spot.head * width + spot.channel] : Real(0),
             ScanOutput{reads, checkpoints, before, kept}, spot.head, spot.channel, sizes);
  for (int e = 0; e < Cell::VECTORS; ++e) own[e * vector_size(count, sizes)] = state[e];
}

// The same step backwards: gradients of h U, and of the states before it but for U's part.
extern "C" __global__ void __launch_bounds__(256)
vector_step_backward(const int* table, const int* bounds, const int* segments, const Real* before,
                     const Real* kept, const Token* d_reads, const Real* d_checkpoints, Token* d_x,
                     Token* d_inner, Real* d_states, Real* d_products, int step, int count,
                     int segment_count, int tokens, int heads, int width) {
  Sizes sizes{segment_count, tokens, heads, width};
  Runs runs{table, bounds, segments, count};
  Spot spot(count, sizes);
  if (spot.head >= heads) return;
  Run run(runs, spot.index);
  int t = run.begin + step;
  Real d_product[Cell::GATES] = {}, d_state[Cell::VECTORS];
  BackwardTokens given{before, kept, d_reads, d_checkpoints, d_x, d_inner};
  Real* own = d_states + spot.of(1, count, sizes);
  if (t < run.end) {
    run.enter(runs, sizes, t);
    Fetched now;
    now.fetch_all(given, run.token(t, spot.head, sizes), spot.channel, width, true);
    for (int e = 0; e < Cell::VECTORS; ++e) d_state[e] = own[e * vector_size(count, sizes)];
    scan_token_back(run, d_state, t, now, d_product, given, spot.head, spot.channel, sizes);
    for (int e = 0; e < Cell::VECTORS; ++e) own[e * vector_size(count, sizes)] = d_state[e];
  }
  put(d_products + spot.of(Cell::GATES, count, sizes), width, d_product);
}

// Gradients of the carried states, from those of the states with which the runs begin.
extern "C" __global__ void __launch_bounds__(256)
vector_begin_backward(const int* table, const Real* d_states, Real* d_carry, int count, int heads,
                      int width) {
  Sizes sizes{0, 0, heads, width};
  Spot spot(count, sizes);
  if (spot.head >= heads) return;
  Run run(Runs{table, nullptr, nullptr, count}, spot.index);
  if (!run.carried) return;
  for (int e = 0; e < Cell::VECTORS; ++e) {
    long long at = (run.start(spot.head, sizes) * Cell::VECTORS + e) * width + spot.channel;
    d_carry[at] = d_states[e * vector_size(count, sizes) + spot.of(1, count, sizes)];
  }
}
