// Chunks of memories with a decay per key channel: sizes, where their tokens lie, and factors.
//
// A chunk is cut into sub-chunks of 16 tokens. What is read by a token (left: q; with removal also
// kk, which reads before its own token's decay) is multiplied by the decays since the start of its
// sub-chunk; what is written by a token (right: k; with removal also kk * a) by those until the end
// of its sub-chunk. Between sub-chunks lie whole ones. All are running products of factors
// exp(log_decay) <= 1: nothing is divided and no logarithms are subtracted, so a decay of e^-40 does
// no harm and costs no digits.
#pragma once
#include "blocks.cuh"
#include "load.cuh"

constexpr int KEYS = MC_KEYS, VALUES = MC_VALUES, CHUNK = MC_CHUNK, PAIRS = MC_PAIRS;
constexpr int SUBS = CHUNK / SUB, THREADS = 256;
constexpr int KEY_ROW = padded(KEYS), VALUE_ROW = padded(VALUES), PAIR_ROW = padded(CHUNK);

// Tokens [begin, begin + count) of a row, for one head.
struct Place {
  int row, begin, count, head;
};

struct Shape {
  int tokens, heads, keys, values;
};

// Rows of an array (B, T, H, width), from a column on.
template <class T>
__device__ __forceinline__ Matrix<T> tokens_of(T* x, Place at, Shape shape, int width, int column) {
  long long first = ((long long)at.row * shape.tokens + at.begin) * shape.heads + at.head;
  return {x + first * width + column, (long long)shape.heads * width, at.count, width - column};
}

// A state of an array (..., K, V), from a value on.
template <class T>
__device__ __forceinline__ Matrix<T> state_of(T* x, long long index, Shape shape, int value) {
  return {x + index * shape.keys * shape.values + value, shape.values, shape.keys,
          shape.values - value};
}

// What lies in shared memory of a chunk's keys; rows of KEY_ROW numbers.
struct Operands {
  Real *left[PAIRS], *right[PAIRS];  // null where a kernel has no use for them
  Real* decay;                       // factors of each token
  Real* whole;                       // SUBS rows of KEYS: factors of sub-chunks
  Real* gaps;                        // see `gap`

  // The factor between sub-chunks `from` < `to`; from = -1 is the chunk's start, to = SUBS its end.
  __device__ __forceinline__ Real gap(int to, int from, int channel) const {
    return gaps[(to * (SUBS + 1) + from + 1) * KEYS + channel];
  }
  __device__ __forceinline__ Real since(int l, int t, int channel) const {  // from chunk's start
    return left[l][t * KEY_ROW + channel] * gap(t / SUB, -1, channel);
  }
  __device__ __forceinline__ Real until(int r, int t, int channel) const {  // to the chunk's end
    return right[r][t * KEY_ROW + channel] * gap(SUBS, t / SUB, channel);
  }
};

// Which operands a kernel uses.
constexpr int QUERIES = 1, RECALLING = 2, KEYS_WRITTEN = 4, REMOVED = 8;

// `decay` comes last: it may be overwritten once the operands are aged.
__device__ __forceinline__ Operands operands(Arena& arena, int used) {
  Operands o;
#pragma unroll
  for (int pair = 0; pair < PAIRS; ++pair) {
    o.left[pair] = used >> pair & 1 ? arena.take<Real>(CHUNK * KEY_ROW) : nullptr;
    o.right[pair] = used >> (2 + pair) & 1 ? arena.take<Real>(CHUNK * KEY_ROW) : nullptr;
  }
  o.whole = arena.take<Real>(SUBS * KEYS);
  o.gaps = arena.take<Real>((SUBS + 1) * (SUBS + 1) * KEYS);
  o.decay = arena.take<Real>(CHUNK * KEY_ROW);
  return o;
}
// Gives back the place of the decays of aged operands.
__device__ __forceinline__ void rewind(Arena& arena, Operands o) {
  arena.used = int(reinterpret_cast<char*>(o.decay) - arena.base);
}

// Arrays that a chunk's operands are made of; kk and a are null without removal.
struct Inputs {
  const Token *q, *k;
  const Real* log_decay;
  const Token *kk, *a;
};

// Fills what is there of left and right, and decay. Tokens beyond the last are 0, and do not decay.
__device__ __forceinline__ void load_operands(Operands o, Inputs x, Place at, Shape shape) {
  auto of = [&](auto* array) { return tokens_of(array, at, shape, shape.keys, 0); };
  auto decay = of(x.log_decay);
  for (int n = threadIdx.x; n < CHUNK * KEYS; n += THREADS)
    o.decay[n / KEYS * KEY_ROW + n % KEYS] = exp(decay.get(n / KEYS, n % KEYS));
  if (o.left[0]) load<CHUNK, KEYS>(o.left[0], KEY_ROW, of(x.q));
  if (o.right[0]) load<CHUNK, KEYS>(o.right[0], KEY_ROW, of(x.k));
  if constexpr (PAIRS == 2) {
    if (o.left[1]) load<CHUNK, KEYS>(o.left[1], KEY_ROW, of(x.kk));
    if (!o.right[1]) return;
    auto removal = of(x.kk), strength = of(x.a);
    for (int n = threadIdx.x; n < CHUNK * KEYS; n += THREADS) {
      int t = n / KEYS, i = n % KEYS;
      o.right[1][t * KEY_ROW + i] = removal.get(t, i) * strength.get(t, i);
    }
  }
}

// Multiplies left and right by their factors, and fills whole and gaps. Ends with a barrier.
__device__ __forceinline__ void age(Operands o) {
  for (int n = threadIdx.x; n < SUBS * KEYS; n += THREADS) {
    int first = n / KEYS * SUB * KEY_ROW + n % KEYS;
    Real since = 1, until = 1;
    for (int at = first; at < first + SUB * KEY_ROW; at += KEY_ROW) {
      if (PAIRS == 2 && o.left[PAIRS - 1]) o.left[PAIRS - 1][at] *= since;
      since *= o.decay[at];
      if (o.left[0]) o.left[0][at] *= since;
    }
    o.whole[n] = since;
    for (int at = first + (SUB - 1) * KEY_ROW; at >= first; at -= KEY_ROW) {
#pragma unroll
      for (int r = 0; r < PAIRS; ++r)
        if (o.right[r]) o.right[r][at] *= until;
      until *= o.decay[at];
    }
  }
  __syncthreads();
  for (int n = threadIdx.x; n < (SUBS + 1) * KEYS; n += THREADS) {
    int from = n / KEYS - 1, i = n % KEYS;
    Real factor = 1;
    for (int to = from + 1; to <= SUBS; ++to) {
      o.gaps[(to * (SUBS + 1) + from + 1) * KEYS + i] = factor;
      if (to < SUBS) factor *= o.whole[to * KEYS + i];
    }
  }
  __syncthreads();
}

// A row of the table of chunks is row, first token, tokens; a block does one, for one head.
__device__ __forceinline__ Place place_of(const int* table) {
  const int* it = table + 3 * (long long)blockIdx.x;
  return {it[0], it[1], it[2], int(blockIdx.y)};
}
// Where the state before that chunk lies.
__device__ __forceinline__ long long index_of(Shape shape) {
  return (long long)blockIdx.x * shape.heads + blockIdx.y;
}
