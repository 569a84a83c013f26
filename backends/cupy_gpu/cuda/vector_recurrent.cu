// Gradient of recurrent weights, dU = sum over tokens of h^T d(h U): blocks of 64 x 64 of it over
// stretches of tokens, whose parts are added up afterwards.
#include "copy.cuh"
#include "strip.cuh"

constexpr int SIDE = 64, DEPTH = 32, THREADS = 128;  // a warp has 16 of a block's rows
constexpr int APART = SIDE + 8;                      // lanes then hit different banks
constexpr int TILE = DEPTH * APART;

// Channels from `from` on of one head, at tokens t, t + 1, ... < end of (tokens, heads, width).
template <class T>
__device__ __forceinline__ Matrix<const T> stretch(const T* all, int t, int end, int from,
                                                   int width) {
  long long apart = (long long)gridDim.y * width;
  return {all + t * apart + (long long)blockIdx.y * width + from, apart, end - t, width - from};
}

// parts (stretches, H, V, N), columns from `offset` on, of before (tokens, H, V) and the first
// `columns` of d_products (tokens, H, stored). Grid: blocks of rows by blocks of columns, heads,
// stretches of `each` tokens.
extern "C" __global__ void __launch_bounds__(128)
recurrent_gradient(const Real* before, const Token* d_products, Real* parts, int tokens, int each,
                   int width, int stored, int columns, int offset, int all_columns) {
  MC_ARENA(arena);
  Real* a = arena.take<Real>(2 * TILE);  // of now and next
  Real* b = arena.take<Real>(2 * TILE);
  int across = (columns + SIDE - 1) / SIDE, above = rows_above();
  int row = blockIdx.x / across * SIDE, column = blockIdx.x % across * SIDE;
  int begin = blockIdx.z * each, end = min(begin + each, tokens);
  auto ask_for = [&](int t) {
    if (t >= end) return;
    Matrix<const Token> right = stretch(d_products, t, end, column, stored);
    right.columns = columns - column;
    int place = (t - begin) / DEPTH % 2 * TILE;
    ask<DEPTH, SIDE, THREADS>(a + place, APART, stretch(before, t, end, row, width));
    ask<DEPTH, SIDE, THREADS>(b + place, APART, right);
  };
  Strip<SIDE> sum;
  sum.clear();
  ask_for(begin);
  for (int t = begin; t < end; t += DEPTH) {
    arrived();
    ask_for(t + DEPTH);
    int place = (t - begin) / DEPTH % 2 * TILE;
    sum.product([&](int i, int k) { return a[place + k * APART + above + i]; },
                [&](int k, int j) { return b[place + k * APART + j]; }, DEPTH);
  }
  long long place = ((long long)blockIdx.z * gridDim.y + blockIdx.y) * width + row;
  Real* to = parts + place * all_columns + offset + column;
  store(sum, Matrix<Real>{to, all_columns, width - row, columns - column}, Real(1));
}
