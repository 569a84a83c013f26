// A product of two matrices, and a sum over a block: what the emulation itself is tested with.
#include "load.cuh"
#include "reduce.cuh"
#include "tile.cuh"

extern "C" __global__ void __launch_bounds__(128)
    tile_product(const Token* a, const Token* b, Token* c, int m, int n, int k) {
  constexpr int SIZE = 32, APART = padded(SIZE);
  MC_ARENA(arena);
  Real* left = arena.take<Real>(SIZE * APART);
  Real* right = arena.take<Real>(SIZE * APART);
  load<SIZE, SIZE>(left, APART, Matrix<const Token>{a, k, m, k});
  load<SIZE, SIZE>(right, APART, Matrix<const Token>{b, n, k, n});
  __syncthreads();
  Tile<SIZE, SIZE, 128> tile;
  tile.clear();
  tile.product([&](int i, int l) { return left[i * APART + l]; },
               [&](int l, int j) { return right[l * APART + j]; }, SIZE);
  __syncthreads();
  tile.each([&](int i, int j, Real& x) { left[i * APART + j] = x; });
  __syncthreads();
  store<SIZE, SIZE>(Matrix<Token>{c, n, m, n}, left, APART);
}

extern "C" __global__ void __launch_bounds__(128)
    sum_of_squares(const Real* x, Real* total, int count) {
  MC_ARENA(arena);
  Real* scratch = arena.take<Real>(4);
  Real own = Real(0);
  for (int i = threadIdx.x; i < count; i += 128) own += x[i] * x[i];
  own = block_sum(own, scratch);
  if (threadIdx.x == 0) *total = own;
}
