// Mixed memories of a matrix LSTM: what each weighs, a warp for each token and head.
//
//     w_ti = g_ti e^(m_i - m*_t),   m*_t the largest m that token t sees, that of its own memory included
//
// Mixed numerators and denominators are then a plain read of C and n.
#include "mlstm_cached.cuh"
#include "reduce.cuh"

constexpr int THREADS = 128;

// A token and head, and the checkpoints that it sees.
struct Reader {
  long long at;
  int row, head, first, last;
};

__device__ __forceinline__ Reader reader_of(long long at, Cached sizes, Sight sight) {
  int head = int(at % sizes.heads), t = int(at / sizes.heads % sizes.tokens);
  int row = int(at / sizes.heads / sizes.tokens);
  long long place = (long long)row * sizes.tokens + t;
  return {at, row, head, sight.first[place], sight.last[place]};
}
__device__ __forceinline__ int warp_of_grid() {
  return int(blockIdx.x) * (THREADS / 32) + int(threadIdx.x) / 32;
}

// weights (B, T, H, C), 0 at first; gates (B, T, H, C + 1), largest and weight of the online memory.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
mlstm_shares(const Real* states, const Real* largest, const Real* gates, const int* first,
             const int* last, Real* weights, Real* weight, Real* mixed, CACHED, int count) {
  Cached sizes = {tokens, heads, keys, values, columns};
  if (warp_of_grid() >= count) return;
  Reader x = reader_of(warp_of_grid(), sizes, {first, last});
  int lane = threadIdx.x & 31;
  Real most = largest[x.at];
  for (int c = x.first + lane; c < x.last; c += 32)
    most = max(most, states[sizes.maximum(x.row, c, x.head)]);
  most = warp_max(most);
  const Real* gate = gates + x.at * (columns + 1);
  for (int c = x.first + lane; c < x.last; c += 32)
    weights[x.at * columns + c] = gate[c] * exp(states[sizes.maximum(x.row, c, x.head)] - most);
  if (lane) return;
  weight[x.at] = gate[columns] * exp(largest[x.at] - most);
  mixed[x.at] = most;
}

// Gradients of gates and maxima; those of checkpoints (B, T, H, C), 0 at first, for each token apart.
// What is left of the gradient of m* goes to the first memory whose m it is.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
mlstm_shares_backward(const Real* states, const Real* largest, const Real* gates,
                      const Real* mixed, const int* first, const int* last, const Real* d_weights,
                      const Real* d_weight, const Real* d_mixed, Real* d_gates, Real* d_maxima,
                      Real* d_largest, CACHED, int count) {
  Cached sizes = {tokens, heads, keys, values, columns};
  if (warp_of_grid() >= count) return;
  Reader x = reader_of(warp_of_grid(), sizes, {first, last});
  int lane = threadIdx.x & 31, leader = columns;
  Real most = mixed[x.at], sum = 0;
  const Real* gate = gates + x.at * (columns + 1);
  for (int c = x.first + lane; c < x.last; c += 32) {
    Real m = states[sizes.maximum(x.row, c, x.head)], share = exp(m - most);
    Real d = d_weights[x.at * columns + c] * share;
    d_gates[x.at * (columns + 1) + c] = d;
    d_maxima[x.at * columns + c] = d * gate[c];
    sum += d * gate[c];
    if (m == most) leader = min(leader, c);
  }
  leader = -warp_max(-leader);
  Real own = d_weight[x.at] * exp(largest[x.at] - most);
  Real rest = d_mixed[x.at] - warp_sum(sum) - own * gate[columns];
  __syncwarp();
  if (lane) return;
  d_gates[x.at * (columns + 1) + columns] = own;
  d_largest[x.at] = own * gate[columns] + (leader == columns ? rest : Real(0));
  if (leader < columns) d_maxima[x.at * columns + leader] += rest;
}
