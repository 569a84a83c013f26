// AdamW over all tensors at once. Tensors are told by tables of addresses; a block takes a chunk of
// one of them. Gradients are stored as tokens are; all else is Real.
#include "reduce.cuh"

constexpr int THREADS = 256, CHUNK = 16384;

// The numbers of a chunk: `chunks` holds (tensor, its first number / CHUNK), `sizes` all counts.
struct Span {
  int tensor;
  long long begin, end;
  __device__ __forceinline__ Span(const int* chunks, const long long* sizes)
      : tensor(chunks[2 * blockIdx.x]), begin((long long)chunks[2 * blockIdx.x + 1] * CHUNK) {
    end = min(begin + CHUNK, sizes[tensor]);
  }
};

template <class T>
__device__ __forceinline__ T* at(const unsigned long long* addresses, int tensor) {
  return reinterpret_cast<T*>(addresses[tensor]);
}

// parts[first + chunk] = the sum of squares of a chunk, in double.
extern "C" __global__ void __launch_bounds__(THREADS)
    square_sums(const unsigned long long* grads, const int* chunks, const long long* sizes,
                double* parts, int first) {
  MC_ARENA(arena);
  double* scratch = arena.take<double>(THREADS / 32);
  Span span(chunks, sizes);
  const Token* grad = at<const Token>(grads, span.tensor);
  double total = 0;
  for (long long i = span.begin + threadIdx.x; i < span.end; i += THREADS)
    total += double(Real(grad[i])) * double(Real(grad[i]));
  total = block_sum(total, scratch);
  if (threadIdx.x == 0) parts[first + blockIdx.x] = total;
}

// found = the norm, and what brings it down to `limit` (0: 1); NaN if the norm or loss is not finite.
extern "C" __global__ void __launch_bounds__(THREADS)
    clip(const double* parts, int count, const double* loss, double* found, Real limit) {
  MC_ARENA(arena);
  double* scratch = arena.take<double>(THREADS / 32);
  double total = 0;
  for (int i = threadIdx.x; i < count; i += THREADS) total += parts[i];
  total = block_sum(total, scratch);
  if (threadIdx.x) return;
  double norm = sqrt(total), wrong = (norm - norm) + (loss[0] - loss[0]);
  found[0] = norm;
  found[1] = (limit > Real(0) && norm > double(limit) ? double(limit) / norm : 1.0) + wrong;
}

// m <- b1 m + new1 g;  v <- b2 v + new2 g^2, with new1 = 1 - b1 and new2 = 1 - b2, rounded once;
// p <- p shrink - step m / (sqrt(v) root + eps), with step = rate / (1 - b1^n) and
// root = (1 - b2^n)^-1/2.
extern "C" __global__ void __launch_bounds__(THREADS)
    adamw(const unsigned long long* tensors, const unsigned long long* grads,
          const int* chunks, const long long* sizes,
          const Real* decay, const double* found, int count, Real rate, Real b1, Real new1, Real b2,
          Real new2, Real eps, Real step, Real root) {
  double scale = found[1];
  if (!(scale == scale)) return;
  Span span(chunks, sizes);
  Real *p = at<Real>(tensors, span.tensor), *m = at<Real>(tensors, count + span.tensor),
       *v = at<Real>(tensors, 2 * count + span.tensor);
  const Token* grad = at<const Token>(grads, span.tensor);
  Real shrink = Real(1) - rate * decay[span.tensor];
  for (long long i = span.begin + threadIdx.x; i < span.end; i += THREADS) {
    Real g = Real(grad[i]) * Real(scale);
    m[i] = b1 * m[i] + new1 * g;
    v[i] = b2 * v[i] + new2 * g * g;
    p[i] = p[i] * shrink - step * m[i] / (sqrt(v[i]) * root + eps);
  }
}
