// Reads of vector memories: y_t = sum_i g_ti h_i over the checkpoints i that token t may see.
//
// Three products of a block of tokens, a block of checkpoints and a block of channels. Arrays:
// gates (B, T, H, C) or null for ones, checkpoints (B, C, H, vectors, V) of which h is the first.
#include "load_wide.cuh"
#include "strip.cuh"

constexpr int SIDE = 64, DEPTH = 32, THREADS = 128;  // a warp has 16 rows of a side
constexpr int ROW = padded(DEPTH), COLUMN = SIDE + 8;  // apart, so that lanes hit different banks

struct Shape {
  int tokens, heads, columns, vectors, width, segments;
};

// What one row's tokens may see.
struct Sight {
  const int *segment, *first, *last;  // (tokens), (segments), (segments)
  int tokens;
  __device__ __forceinline__ Sight(const int* all_segment, const int* all_first,
                                   const int* all_last, int row, Shape shape)
      : segment(all_segment + (long long)row * shape.tokens),
        first(all_first + (long long)row * shape.segments),
        last(all_last + (long long)row * shape.segments),
        tokens(shape.tokens) {}
  __device__ __forceinline__ bool sees(int t, int column) const {
    if (t >= tokens) return false;
    int s = segment[t];
    return first[s] <= column && column < last[s];
  }
  // The columns low <= c < high hold all that some of `count` tokens from t on see.
  __device__ __forceinline__ void range(int t, int count, int& low, int& high) const {
    low = 0x7fffffff;
    high = 0;
    int end = min(t + count, tokens) - 1;
    for (int s = segment[t]; s <= segment[end]; ++s) {
      if (first[s] >= last[s]) continue;
      low = min(low, first[s]);
      high = max(high, last[s]);
    }
  }
};

// The gate of a token for a column, 0 where it sees nothing.
struct Gates {
  const Real* at;  // of the row and head, or null
  Shape shape;
  Sight sight;
  __device__ __forceinline__ Gates(const Real* all, int row, int head, Shape sizes, Sight seen)
      : at(all ? all + ((long long)row * sizes.tokens * sizes.heads + head) * sizes.columns : all),
        shape(sizes),
        sight(seen) {}
  __device__ __forceinline__ Real get(int t, int column) const {
    if (!sight.sees(t, column)) return Real(0);
    return at ? at[(long long)t * shape.heads * shape.columns + column] : Real(1);
  }
};

template <class T>
__device__ __forceinline__ Matrix<T> channels(T* all, int row, int head, int t, int from,
                                              Shape shape) {
  T* at = all + (((long long)row * shape.tokens + t) * shape.heads + head) * shape.width + from;
  return {at, (long long)shape.heads * shape.width, shape.tokens - t, shape.width - from};
}

template <class T>
__device__ __forceinline__ Matrix<T> cached(T* all, int row, int head, int column, int from,
                                            Shape shape) {
  long long stride = (long long)shape.heads * shape.vectors * shape.width;
  T* at = all + ((long long)row * shape.columns + column) * stride +
          (long long)head * shape.vectors * shape.width + from;
  return {at, stride, shape.columns - column, shape.width - from};
}

// Where a block of the result begins: blocks go along its `width` first.
__device__ __forceinline__ void place(int width, int& down, int& along) {
  int across = (width + SIDE - 1) / SIDE;
  down = blockIdx.x / across * SIDE;
  along = blockIdx.x % across * SIDE;
}

// y (B, T, H, V). Grid: blocks of tokens by channels, heads, rows.
extern "C" __global__ void __launch_bounds__(128, 4)
vector_read(const Real* gates, const Real* checkpoints, const int* segment, const int* first,
            const int* last, Token* y, int tokens, int heads, int columns, int vectors, int width,
            int segments) {
  MC_ARENA(arena);
  Shape shape{tokens, heads, columns, vectors, width, segments};
  int head = blockIdx.y, row = blockIdx.z, above = rows_above(), low, high;
  int t, from;
  place(width, t, from);
  Gates weight(gates, row, head, shape, Sight(segment, first, last, row, shape));
  Real* a = arena.take<Real>(SIDE * ROW);
  Real* b = arena.take<Real>(DEPTH * COLUMN);
  Strip<SIDE> sum;
  sum.clear();
  weight.sight.range(t, SIDE, low, high);
  for (int column = low; column < high; column += DEPTH) {
#pragma unroll 4
    for (int at = threadIdx.x; at < SIDE * DEPTH; at += THREADS)
      a[at / DEPTH * ROW + at % DEPTH] = weight.get(t + at / DEPTH, column + at % DEPTH);
    load_wide<DEPTH, SIDE, THREADS>(b, COLUMN, cached(checkpoints, row, head, column, from, shape));
    __syncthreads();
    sum.product([&](int i, int k) { return a[(above + i) * ROW + k]; },
                [&](int k, int j) { return b[k * COLUMN + j]; }, DEPTH);
    __syncthreads();
  }
  store(sum, channels(y, row, head, t, from, shape), Real(1));
}

// d_checkpoints (B, C, H, vectors, V), its h. Grid: blocks of columns by channels, heads, rows.
extern "C" __global__ void __launch_bounds__(128)
vector_read_checkpoints(const Real* gates, const Token* dy, const int* segment, const int* first,
                        const int* last, Real* d_checkpoints, int tokens, int heads, int columns,
                        int vectors, int width, int segments) {
  MC_ARENA(arena);
  Shape shape{tokens, heads, columns, vectors, width, segments};
  int head = blockIdx.y, row = blockIdx.z, above = rows_above(), low, high;
  int column, from;
  place(width, column, from);
  Gates weight(gates, row, head, shape, Sight(segment, first, last, row, shape));
  Real* a = arena.take<Real>(DEPTH * COLUMN);
  Real* b = arena.take<Real>(DEPTH * COLUMN);
  Strip<SIDE> sum;
  sum.clear();
  for (int t = 0; t < tokens; t += DEPTH) {
    weight.sight.range(t, DEPTH, low, high);
    if (high <= column || low >= column + SIDE) continue;
#pragma unroll 4
    for (int at = threadIdx.x; at < SIDE * DEPTH; at += THREADS)
      a[at / SIDE * COLUMN + at % SIDE] = weight.get(t + at / SIDE, column + at % SIDE);
    load_wide<DEPTH, SIDE, THREADS>(b, COLUMN, channels(dy, row, head, t, from, shape));
    __syncthreads();
    sum.product([&](int i, int k) { return a[k * COLUMN + above + i]; },
                [&](int k, int j) { return b[k * COLUMN + j]; }, DEPTH);
    __syncthreads();
  }
  store(sum, cached(d_checkpoints, row, head, column, from, shape), Real(1));
}

// d_gates (B, T, H, C), 0 where nothing is seen. Grid: blocks of tokens by columns, heads, rows.
extern "C" __global__ void __launch_bounds__(128)
vector_read_gates(const Real* checkpoints, const Token* dy, const int* segment, const int* first,
                  const int* last, Real* d_gates, int tokens, int heads, int columns, int vectors,
                  int width, int segments) {
  MC_ARENA(arena);
  Shape shape{tokens, heads, columns, vectors, width, segments};
  int head = blockIdx.y, row = blockIdx.z, above = rows_above(), low, high;
  int t, column;
  place(columns, t, column);
  Sight sight(segment, first, last, row, shape);
  Real* a = arena.take<Real>(SIDE * ROW);
  Real* b = arena.take<Real>(SIDE * ROW);
  Strip<SIDE> sum;
  sum.clear();
  sight.range(t, SIDE, low, high);
  bool unseen = high <= column || low >= column + SIDE;
  for (int from = 0; from < width && !unseen; from += DEPTH) {
    load_wide<SIDE, DEPTH, THREADS>(a, ROW, channels(dy, row, head, t, from, shape));
    load_wide<SIDE, DEPTH, THREADS>(b, ROW, cached(checkpoints, row, head, column, from, shape));
    __syncthreads();
    sum.product([&](int i, int k) { return a[(above + i) * ROW + k]; },
                [&](int k, int j) { return b[j * ROW + k]; }, DEPTH);
    __syncthreads();
  }
  sum.each([&](int i, int j, Real& value) {
    if (!sight.sees(t + above + i, column + j)) value = Real(0);
  });
  long long apart = (long long)heads * columns;
  Real* to = d_gates + ((long long)row * tokens + t) * apart + (long long)head * columns + column;
  store(sum, Matrix<Real>{to, apart, tokens - t, columns - column}, Real(1));
}
