// RMS norm of rows, plain and gated; a warp per row. Sums are Real, whatever tokens are stored as.
//
//   r = 1 / sqrt(mean(x^2) + eps)      y = r x w      out = y silu(gate)
#include "reduce.cuh"

constexpr int WARPS = 4, THREADS = 32 * WARPS;

__device__ __forceinline__ Real inverse_rms(const Token* x, int width, Real eps) {
  Real square = Real(0);
  for (int i = threadIdx.x & 31; i < width; i += 32) square += Real(x[i]) * Real(x[i]);
  return Real(1) / sqrt(warp_sum(square) / Real(width) + eps);
}

// Rows of x lie `pitch` apart; those of y are dense. `scale` (rows,) keeps r for backward.
extern "C" __global__ void __launch_bounds__(THREADS)
    rms_norm(const Token* x, int pitch, const Real* weight, Token* y, Real* scale, int rows,
             int width, Real eps) {
  long long row = (long long)blockIdx.x * WARPS + (threadIdx.x >> 5);
  if (row >= rows) return;
  x += row * pitch;
  y += row * width;
  Real r = inverse_rms(x, width, eps);
  for (int i = threadIdx.x & 31; i < width; i += 32) y[i] = Token(Real(x[i]) * r * weight[i]);
  if ((threadIdx.x & 31) == 0) scale[row] = r;
}

// The sums of a block's warps, column by column, into its row of `parts`.
__device__ __forceinline__ void store_parts(const Real* sums, Real* parts, int width) {
  __syncthreads();
  for (int i = threadIdx.x; i < width; i += THREADS) {
    Real total = Real(0);
    for (int warp = 0; warp < WARPS; ++warp) total += sums[warp * width + i];
    parts[(long long)blockIdx.x * width + i] = total;
  }
}

// dx = r (dy w - r^2 x mean(dy w x)) + beside;   parts (blocks, width): sums of r dy x.
extern "C" __global__ void __launch_bounds__(THREADS)
    rms_norm_backward(const Token* x, int pitch, const Real* weight, const Real* scale,
                      const Token* dy, const Token* beside, Token* dx, Real* parts, int rows,
                      int width) {
  MC_ARENA(arena);
  Real* sums = arena.take<Real>(WARPS * width);
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  Real* own = sums + warp * width;
  for (int i = lane; i < width; i += 32) own[i] = Real(0);
  for (long long row = (long long)blockIdx.x * WARPS + warp; row < rows; row += gridDim.x * WARPS) {
    const Token *from = x + row * pitch, *d_from = dy + row * width;
    Real r = scale[row], inner = Real(0);
    for (int i = lane; i < width; i += 32) {
      Real product = Real(d_from[i]) * Real(from[i]);
      own[i] += r * product;
      inner += product * weight[i];
    }
    inner = warp_sum(inner) * r * r / Real(width);
    for (int i = lane; i < width; i += 32) {
      Real value = r * (Real(d_from[i]) * weight[i] - Real(from[i]) * inner);
      if (beside) value += Real(beside[row * width + i]);
      dx[row * width + i] = Token(value);
    }
  }
  store_parts(sums, parts, width);
}

// A row is a head of a token: `gate` has tokens `pitch` apart, and heads side by side.
__device__ __forceinline__ long long place(long long row, int heads, int width, int pitch) {
  return row / heads * pitch + row % heads * width;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gated_rms_norm(const Token* y, const Token* gate, int pitch, const Real* weight, Token* out,
                   Real* scale, int rows, int heads, int width, Real eps) {
  long long row = (long long)blockIdx.x * WARPS + (threadIdx.x >> 5);
  if (row >= rows) return;
  gate += place(row, heads, width, pitch);
  Real r = inverse_rms(y + row * width, width, eps);
  for (int i = threadIdx.x & 31; i < width; i += 32) {
    Real g = Real(gate[i]);
    out[row * width + i] = Token(Real(y[row * width + i]) * r * weight[i] * g * sigmoid(g));
  }
  if ((threadIdx.x & 31) == 0) scale[row] = r;
}

// With n = r y, a = silu(gate): dgate = dy n w silu'(gate);  d_y = r (dy a w - n mean(dy a w n));
// parts: sums of dy n a.
extern "C" __global__ void __launch_bounds__(THREADS)
    gated_rms_norm_backward(const Token* y, const Token* gate, int pitch, const Real* weight,
                            const Real* scale, const Token* dy, Token* d_y, Token* d_gate,
                            Real* parts, int rows, int heads, int width) {
  MC_ARENA(arena);
  Real* sums = arena.take<Real>(WARPS * width);
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  Real* own = sums + warp * width;
  for (int i = lane; i < width; i += 32) own[i] = Real(0);
  for (long long row = (long long)blockIdx.x * WARPS + warp; row < rows; row += gridDim.x * WARPS) {
    const Token* opens = gate + place(row, heads, width, pitch);
    long long at = row * width;
    Real r = scale[row], inner = Real(0);
    for (int i = lane; i < width; i += 32) {
      Real g = Real(opens[i]), s = sigmoid(g), d = Real(dy[at + i]), n = Real(y[at + i]) * r;
      Real product = d * n * g * s;
      own[i] += product;
      inner += product * weight[i];
      d_gate[at + i] = Token(d * n * weight[i] * (s + g * s * (Real(1) - s)));
    }
    inner = warp_sum(inner) / Real(width);
    for (int i = lane; i < width; i += 32) {
      Real g = Real(opens[i]), n = Real(y[at + i]) * r;
      d_y[at + i] = Token(r * (Real(dy[at + i]) * g * sigmoid(g) * weight[i] - n * inner));
    }
  }
  store_parts(sums, parts, width);
}
