// The normaliser of linear attention: answers are numerators with their denominator behind them.
#include "reduce.cuh"

constexpr int THREADS = 128;

// (N, V) to (N, V + 1), whose last column is ones.
extern "C" __global__ void __launch_bounds__(THREADS)
extend(const Token* v, Token* extended, int rows, int values) {
  long long at = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (at >= (long long)rows * (values + 1)) return;
  long long row = at / (values + 1), j = at % (values + 1);
  extended[at] = j < values ? v[row * values + j] : Token(1);
}

// numerator / (denominator + eps): (N, V + 1) to (N, V).
extern "C" __global__ void __launch_bounds__(THREADS)
divide(const Token* answers, Token* divided, Real eps, int rows, int values) {
  long long at = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (at >= (long long)rows * values) return;
  const Token* answer = answers + at / values * (values + 1);
  divided[at] = Token(Real(answer[at % values]) / (Real(answer[values]) + eps));
}

// Its gradient; a warp does one row.
extern "C" __global__ void __launch_bounds__(THREADS)
divide_backward(const Token* answers, const Token* dy, Token* d_answers, Real eps, int rows,
                int values) {
  long long row = (long long)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  const Token* answer = answers + row * (values + 1);
  Token* d_answer = d_answers + row * (values + 1);
  Real scale = Real(answer[values]) + eps, sum = Real(0);
  for (int j = threadIdx.x & 31; j < values; j += 32) {
    Real d_numerator = Real(dy[row * values + j]) / scale;
    d_answer[j] = Token(d_numerator);
    sum += d_numerator * Real(answer[j]);
  }
  sum = warp_sum(sum);
  if ((threadIdx.x & 31) == 0) d_answer[values] = Token(-sum / scale);
}
