// Rotary positions: channel i turns with channel i + K / 2. A block per token; its warps share heads.
#include "base.cuh"

constexpr int WARPS = 4;

// y_i = x_i cos a - x_{i+h} sin a;  y_{i+h} = x_i sin a + x_{i+h} cos a;  a = p base^(-i/h), h = K/2.
// The first token of a row has position `starts[row]`, or `start` where that is null. `sense` is 1,
// or -1 to turn back.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
    rotary(const Token* x, Token* y, const long long* starts, int start, int sense, int tokens,
           int heads, int width, Real base) {
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, half = width / 2;
  long long begin = starts ? starts[blockIdx.x / tokens] : start;
  double position = double(begin + blockIdx.x % tokens);
  long long at = (long long)blockIdx.x * heads * width;
  for (int i = lane; i < half; i += 32) {
    double angle = position * pow(double(base), -double(i) / half);
    Real c = Real(cos(angle)), s = Real(sense * sin(angle));
    for (int head = warp; head < heads; head += WARPS) {
      const Token* from = x + at + head * width + i;
      Token* to = y + at + head * width + i;
      Real first = Real(from[0]), second = Real(from[half]);
      to[0] = Token(first * c - second * s);
      to[half] = Token(first * s + second * c);
    }
  }
  if (width & 1 && lane == 0)
    for (int head = warp; head < heads; head += WARPS)
      y[at + head * width + width - 1] = x[at + head * width + width - 1];
}
