// y = factor unit(silu(conv(x) + bias)), a warp per token and head; each where it is wanted.
#include "feature.cuh"

constexpr int WARPS = 4, THREADS = 32 * WARPS;

// Which token and head a warp has.
struct Place {
  int row, t, head;
  long long at;  // of the first of its `width` numbers in a dense (B, T, C)
  bool inside;
  __device__ __forceinline__ Place(int rows, int tokens, int heads, int width) {
    long long index = (long long)blockIdx.x * WARPS + (threadIdx.x >> 5);
    inside = index < (long long)rows * tokens * heads;
    at = index * width;
    head = int(index % heads);
    t = int(index / heads % tokens);
    row = int(index / heads / tokens);
  }
};

// 1 / |a| of what the warp's lanes hold; 1 if it is not wanted.
__device__ __forceinline__ Real unit_scale(const Real (&a)[LANE_CHANNELS], int unit, Real eps) {
  if (!unit) return Real(1);
  Real square = Real(0);
#pragma unroll
  for (int k = 0; k < LANE_CHANNELS; ++k) square += a[k] * a[k];
  return Real(1) / sqrt(warp_sum(square) + eps);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    feature(const Token* x, int pitch, const Token* tail, int tail_pitch, const Real* weight,
            const Real* bias, const int* reach, Token* y, int rows, int tokens, int heads,
            int width, int taps, int silu, int unit, Real factor, Real eps) {
  Conv conv = {x, tail, weight, bias, reach, pitch, tail_pitch, tokens, taps};
  Place place(rows, tokens, heads, width);
  if (!place.inside) return;
  int lane = threadIdx.x & 31;
  Real a[LANE_CHANNELS];
#pragma unroll
  for (int k = 0; k < LANE_CHANNELS; ++k) {
    int i = lane + 32 * k;
    Real z = i < width ? conv.at(place.row, place.t, place.head * width + i) : Real(0);
    a[k] = silu ? z * sigmoid(z) : z;
  }
  Real scale = factor * unit_scale(a, unit, eps);
#pragma unroll
  for (int k = 0; k < LANE_CHANNELS; ++k)
    if (lane + 32 * k < width) y[place.at + lane + 32 * k] = Token(a[k] * scale);
}

// The gradient of conv(x) + bias: into `dz` (B, T, C) dense, or, where x itself is meant, into `dx`,
// whose tokens lie `d_pitch` apart. The other one is null.
extern "C" __global__ void __launch_bounds__(THREADS)
    feature_backward(const Token* x, int pitch, const Token* tail, int tail_pitch,
                     const Real* weight, const Real* bias, const int* reach, const Token* dy,
                     Real* dz, Token* dx, int d_pitch, int rows, int tokens, int heads, int width,
                     int taps, int silu, int unit, Real factor, Real eps) {
  Conv conv = {x, tail, weight, bias, reach, pitch, tail_pitch, tokens, taps};
  Place place(rows, tokens, heads, width);
  if (!place.inside) return;
  int lane = threadIdx.x & 31;
  Real a[LANE_CHANNELS], slope[LANE_CHANNELS], d[LANE_CHANNELS], inner = Real(0);
#pragma unroll
  for (int k = 0; k < LANE_CHANNELS; ++k) {
    int i = lane + 32 * k;
    bool real = i < width;
    Real z = real ? conv.at(place.row, place.t, place.head * width + i) : Real(0), s = sigmoid(z);
    a[k] = silu ? z * s : z;
    slope[k] = silu ? s + a[k] * (Real(1) - s) : Real(1);
    d[k] = real ? factor * Real(dy[place.at + i]) : Real(0);
    inner += d[k] * a[k];
  }
  Real r = unit_scale(a, unit, eps);
  inner = unit ? warp_sum(inner) * r * r : Real(0);
  for (int k = 0; k < LANE_CHANNELS; ++k) {
    int i = lane + 32 * k;
    if (i >= width) break;
    Real value = r * (d[k] - a[k] * inner) * slope[k];
    if (dz) dz[place.at + i] = value;
    if (dx) dx[((long long)place.row * tokens + place.t) * d_pitch + place.head * width + i] =
        Token(value);
  }
}

// Back through the convolution, a thread per channel and stretch of tokens: dx, and sums over the
// stretch for the gradients of the weight (stretches, C, W) and of the bias (stretches, C).
extern "C" __global__ void __launch_bounds__(THREADS)
    feature_sums(const Token* x, int pitch, const Token* tail, int tail_pitch, const Real* weight,
                 const int* reach, const Real* dz, Token* dx, int d_pitch, Real* weight_parts,
                 Real* bias_parts, int tokens, int channels, int taps, int stretch) {
  Conv conv = {x, tail, weight, nullptr, reach, pitch, tail_pitch, tokens, taps};
  int channel = blockIdx.x * THREADS + threadIdx.x, row = blockIdx.z;
  if (channel >= channels) return;
  long long part = (long long)row * gridDim.y + blockIdx.y;
  int begin = blockIdx.y * stretch, end = min(begin + stretch, tokens);
  Real sums[MOST_TAPS] = {}, bias_sum = Real(0);
  const Real* d_row = dz + (long long)row * tokens * channels + channel;
  for (int t = begin; t < end; ++t) {
    Real d = d_row[(long long)t * channels], total = Real(0);
    bias_sum += d;
    if (!weight) continue;
    int far = conv.seen(row, t);
#pragma unroll
    for (int j = 0; j < MOST_TAPS; ++j) {
      if (j >= taps) break;
      if (j <= far) sums[j] += d * conv.input(row, t - j, channel);
      if (t + j < tokens && j <= conv.seen(row, t + j))
        total += weight[channel * taps + taps - 1 - j] * d_row[(long long)(t + j) * channels];
    }
    dx[((long long)row * tokens + t) * d_pitch + channel] = Token(total);
  }
  if (bias_parts) bias_parts[part * channels + channel] = bias_sum;
  if (!weight) return;
#pragma unroll
  for (int j = 0; j < MOST_TAPS; ++j)
    if (j < taps) weight_parts[(part * channels + channel) * taps + taps - 1 - j] = sums[j];
}
