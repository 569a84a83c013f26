// Cross-entropy of logits, a block per labelled token: one pass for the largest and the sum, one for
// the gradient. Logits and sums are Real; the gradient is stored as tokens are.
#include "extremes.cuh"
#include "reduce.cuh"

constexpr int THREADS = 256;

// losses = log(sum exp(z - largest)) - (z_label - largest); hits = whether the label ranks first.
extern "C" __global__ void __launch_bounds__(THREADS)
    cross_entropy(const Real* logits, const int* labels, Real* losses, int* hits, Real* shift,
                  Real* total, int vocab) {
  MC_ARENA(arena);
  Real* values = arena.take<Real>(THREADS / 32);
  int* places = arena.take<int>(THREADS / 32);
  const Real* z = logits + (long long)blockIdx.x * vocab;
  Largest own = {Real(LOWEST), vocab};
  Real sum = Real(0);
  for (int i = threadIdx.x; i < vocab; i += THREADS) {
    if (z[i] > own.value) {
      sum = sum * exp(own.value - z[i]) + Real(1);
      own = {z[i], i};
    } else {
      sum += exp(z[i] - own.value);
    }
  }
  Largest found = block_largest(own, values, places);
  sum = block_sum(sum * exp(own.value - found.value), values);
  if (threadIdx.x) return;
  int label = labels[blockIdx.x];
  losses[blockIdx.x] = log(sum) - (z[label] - found.value);
  hits[blockIdx.x] = found.place == label;
  shift[blockIdx.x] = found.value;
  total[blockIdx.x] = sum;
}

// d = factor (softmax(z) - onehot(label))
extern "C" __global__ void __launch_bounds__(THREADS)
    cross_entropy_backward(const Real* logits, const int* labels, const Real* shift,
                           const Real* total, Token* d_logits, int vocab, Real factor) {
  long long at = (long long)blockIdx.x * vocab;
  Real largest = shift[blockIdx.x], share = factor / total[blockIdx.x];
  int label = labels[blockIdx.x];
  for (int i = threadIdx.x; i < vocab; i += THREADS)
    d_logits[at + i] = Token(exp(logits[at + i] - largest) * share - (i == label ? factor : Real(0)));
}
