// Reads whose gates are made of the answers themselves, per channel: mcore/reading/sigmoid.py.
//
//   y = o + sum_i g_i * o_i,   g_i = sigmoid(base + o_i C),   base = o A + bias,   o_i = S_i^T q
//
// Backwards, with a_i the argument of g_i:
//
//   da_i = dy * o_i * g_i (1 - g_i)     do_i = dy * g_i + da_i C^T     dq = sum_i S_i do_i
//   dS_i = sum_t q do_i^T               dC = sum_ti o_i da_i^T         d base = sum_i da_i
#include "factor.cuh"

// What all kernels here begin with.
__device__ __forceinline__ Memories plain_memories(const Real* states, int columns, int heads,
                                                   int size, int stride, int keys, int values) {
  return {{states, nullptr, columns, 0, heads, size}, stride, keys, values, 0};
}

__device__ __forceinline__ Matrix<const Real> state_of(Memories memories, int b, int c, int h) {
  return {memories.of.at(b, c, h), memories.stride, memories.keys, memories.values};
}

// base (B, T, H, V) of a block of tokens.
extern "C" __global__ void __launch_bounds__(MANY, 1)
    sigmoid_base(const Token* reads, const Real* online, const Real* bias, Real* base, int tokens,
                 int heads, int values) {
  MC_ARENA(arena);
  Real* answer = arena.take<Real>(ROWS * VALUE_ROW);
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  Factor<VALUES> matrix = {arena.take<Real>(factor_room(VALUES)),
                           head_matrix(online, rows.h, values)};
  load<ROWS, VALUES>(answer, VALUE_ROW, rows.of(reads, values));
  matrix.begin();
  __syncthreads();
  WideTile out;
  out.clear();
  matrix.multiply(out, answer, VALUE_ROW, is_busy(rows));
  out.each([&](int i, int v, Real& x) {
    if (i < rows.count && v < values)
      base[rows.scalar(i) * values + v] = x + bias[rows.h * values + v];
  });
}

// The answers of checkpoint `state` to the block's queries, into `answer`. Between barriers.
__device__ __forceinline__ void answer_all(Factor<KEYS> state, const Real* query, int apart,
                                           Real* answer, bool busy) {
  WideTile out;
  out.clear();
  state.multiply(out, query, apart, busy);
  out.each([&](int i, int v, Real& x) { answer[i * VALUE_ROW + v] = x; });
}

extern "C" __global__ void __launch_bounds__(MANY, 1)
    sigmoid_answers(const Token* q, const Token* reads, const Real* states, const Real* cached,
                    const Real* base, const int* first, const int* last, Token* y, int tokens,
                    int heads, int keys, int values, int columns, int size, int stride) {
  MC_ARENA(arena);
  int* sight = arena.take<int>(2 * ROWS);
  Real* query = arena.take<Real>(ROWS * KEY_ROW);
  Real* answer = arena.take<Real>(ROWS * VALUE_ROW);
  Real* before = arena.take<Real>(ROWS * VALUE_ROW);
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  Memories memories = plain_memories(states, columns, heads, size, stride, keys, values);
  Factor<VALUES> gate = {arena.take<Real>(factor_room(VALUES)), head_matrix(cached, rows.h, values)};
  Real* state = arena.take<Real>(factor_room(KEYS));
  load_sight(sight, first, last, rows);
  load<ROWS, KEYS>(query, KEY_ROW, rows.of(q, keys));
  load<ROWS, VALUES>(before, VALUE_ROW, rows.of(base, values));
  gate.begin();
  __syncthreads();
  Sight seen = sight_of(sight);
  WideTile out;
  out.each([&](int i, int v, Real& x) {
    bool real = i < rows.count && v < values;
    x = real ? Real(reads[rows.scalar(i) * values + v]) : Real(0);
  });
  for (int c = seen.low; c < seen.high; ++c) {
    Factor<KEYS> memory = {state, state_of(memories, rows.b, c, rows.h)};
    __syncthreads();
    memory.begin();
    __syncthreads();
    answer_all(memory, query, KEY_ROW, answer, is_busy(rows));
    __syncthreads();
    WideTile sum;
    sum.each([&](int i, int v, Real& x) { x = before[i * VALUE_ROW + v]; });
    gate.multiply(sum, answer, VALUE_ROW, is_busy(rows));
    for (int own = 0; own < WideTile::OWN; ++own)
      for (int e = 0; e < 4; ++e) sum.x[own][e] = sigmoid(sum.x[own][e]);
    sum.each([&](int i, int v, Real& x) {
      x = seen.sees(i, c) ? x * answer[i * VALUE_ROW + v] : Real(0);
    });
    for (int own = 0; own < WideTile::OWN; ++own)
      for (int e = 0; e < 4; ++e) out.x[own][e] += sum.x[own][e];
  }
  out.each([&](int i, int v, Real& x) {
    if (i < rows.count && v < values) y[rows.scalar(i) * values + v] = Token(x);
  });
}

// Gates of one checkpoint, and back to its answers: `sums` arrives as base + o_i C and leaves as
// dy * g_i; da_i comes into `d_sums`, where o_i may be, too. `d(i, v)` is dy, 0 where nothing is seen.
template <class D>
__device__ __forceinline__ void gates_backward(WideTile& sums, const Real* answer, Real* d_sums, D d) {
  sums.each([&](int i, int v, Real& x) {
    Real gate = sigmoid(x), d_gated = d(i, v) * gate;
    d_sums[i * VALUE_ROW + v] = d_gated * answer[i * VALUE_ROW + v] * (Real(1) - gate);
    x = d_gated;
  });
}

// dq, the gradient of base, and that of the online answers.
extern "C" __global__ void __launch_bounds__(MANY, 1)
    sigmoid_queries_backward(const Token* q, const Real* states, const Real* online,
                             const Real* cached, const Real* base, const int* first,
                             const int* last, const Token* dy, Token* dq, Token* d_reads,
                             Real* d_base, int tokens, int heads, int keys, int values, int columns,
                             int size, int stride) {
  MC_ARENA(arena);
  int* sight = arena.take<int>(2 * ROWS);
  Real* query = arena.take<Real>(ROWS * KEY_ROW);
  Real* answer = arena.take<Real>(ROWS * VALUE_ROW);
  Real* before = arena.take<Real>(ROWS * VALUE_ROW);
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  Memories memories = plain_memories(states, columns, heads, size, stride, keys, values);
  Factor<VALUES> gate = {arena.take<Real>(factor_room(VALUES)), head_matrix(cached, rows.h, values)};
  Real* state = arena.take<Real>(factor_room(KEYS));
  load_sight(sight, first, last, rows);
  load<ROWS, KEYS>(query, KEY_ROW, rows.of(q, keys));
  load<ROWS, VALUES>(before, VALUE_ROW, rows.of(base, values));
  gate.begin();
  __syncthreads();
  Sight seen = sight_of(sight);
  WideQueries out;
  WideTile total;
  out.clear();
  total.clear();
  auto d_answer = [&](int i, int v) {
    return i < rows.count && v < values ? Real(dy[rows.scalar(i) * values + v]) : Real(0);
  };
  for (int c = seen.low; c < seen.high; ++c) {
    Factor<KEYS> memory = {state, state_of(memories, rows.b, c, rows.h)};
    __syncthreads();
    memory.begin();
    __syncthreads();
    answer_all(memory, query, KEY_ROW, answer, is_busy(rows));
    __syncthreads();
    WideTile sum;
    sum.each([&](int i, int v, Real& x) { x = before[i * VALUE_ROW + v]; });
    gate.multiply(sum, answer, VALUE_ROW, is_busy(rows));
    __syncthreads();
    gates_backward(sum, answer, answer, [&](int i, int v) {
      return seen.sees(i, c) ? d_answer(i, v) : Real(0);
    });
    WideTile d_sum;
    d_sum.each([&](int i, int v, Real& x) { x = answer[i * VALUE_ROW + v]; });
    for (int own = 0; own < WideTile::OWN; ++own)
      for (int e = 0; e < 4; ++e) total.x[own][e] += d_sum.x[own][e];
    __syncthreads();
    gate.multiply_transposed(sum, answer, VALUE_ROW, is_busy(rows));
    __syncthreads();
    sum.each([&](int i, int v, Real& x) { answer[i * VALUE_ROW + v] = x; });
    __syncthreads();
    memory.multiply_transposed(out, answer, VALUE_ROW, is_busy(rows));
  }
  __syncthreads();
  total.each([&](int i, int v, Real& x) {
    answer[i * VALUE_ROW + v] = x;
    if (i < rows.count && v < values) d_base[rows.scalar(i) * values + v] = x;
  });
  Factor<VALUES> matrix = {gate.shared, head_matrix(online, rows.h, values)};
  matrix.begin();
  __syncthreads();
  total.each([&](int i, int v, Real& x) { x = d_answer(i, v); });
  matrix.multiply_transposed(total, answer, VALUE_ROW, is_busy(rows));
  total.each([&](int i, int v, Real& x) {
    if (i < rows.count && v < values) d_reads[rows.scalar(i) * values + v] = Token(x);
  });
  out.each([&](int i, int k, Real& x) {
    if (i < rows.count && k < keys) dq[rows.scalar(i) * keys + k] = Token(x);
  });
}

// The gradient of one checkpoint a block, added; and its part of that of C, (B, C, H, V, V).
extern "C" __global__ void __launch_bounds__(MANY, 1)
    sigmoid_states_backward(const Token* q, const Real* states, const Real* cached,
                            const Real* base, const int* first, const int* last, const int* begin,
                            const int* end, const Token* dy, Real* d_states, Real* d_cached,
                            int tokens, int heads, int keys, int values, int columns, int size,
                            int stride) {
  MC_ARENA(arena);
  constexpr int LEFT = KEYS + 8;
  int* sight = arena.take<int>(2 * ROWS);
  Real* query = arena.take<Real>(ROWS * LEFT);
  Real* answer = arena.take<Real>(ROWS * VALUE_ROW);
  Real* d_sums = arena.take<Real>(ROWS * VALUE_ROW);
  int column = blockIdx.x, b = blockIdx.z, h = blockIdx.y, place = b * columns + column;
  Memories memories = plain_memories(states, columns, heads, size, stride, keys, values);
  Factor<VALUES> gate = {arena.take<Real>(factor_room(VALUES)), head_matrix(cached, h, values)};
  Factor<KEYS> memory = {arena.take<Real>(factor_room(KEYS)), state_of(memories, b, column, h)};
  Tile<KEYS, VALUES, MANY> d_state;
  Tile<VALUES, VALUES, MANY> d_gate;
  d_state.clear();
  d_gate.clear();
  gate.begin();
  memory.begin();
  for (int from = begin[place]; from < end[place]; from += ROWS) {
    Rows rows = rows_from(from, tokens, heads);
    load_sight(sight, first, last, rows);
    load<ROWS, KEYS>(query, LEFT, rows.of(q, keys));
    __syncthreads();
    Sight seen = {sight, sight + ROWS, 0, 0};
    answer_all(memory, query, LEFT, answer, is_busy(rows));
    __syncthreads();
    WideTile sum;
    sum.each([&](int i, int v, Real& x) {
      x = i < rows.count && v < values ? base[rows.scalar(i) * values + v] : Real(0);
    });
    gate.multiply(sum, answer, VALUE_ROW, is_busy(rows));
    gates_backward(sum, answer, d_sums, [&](int i, int v) {
      bool real = v < values && seen.sees(i, column);
      return real ? Real(dy[rows.scalar(i) * values + v]) : Real(0);
    });
    __syncthreads();
    gate.multiply_transposed(sum, d_sums, VALUE_ROW, is_busy(rows));
    int depth = up(rows.count, 8);
    d_gate.product([&](int v, int i) { return answer[i * VALUE_ROW + v]; },
                   [&](int i, int w) { return d_sums[i * VALUE_ROW + w]; }, depth);
    __syncthreads();
    sum.each([&](int i, int v, Real& x) { answer[i * VALUE_ROW + v] = x; });
    __syncthreads();
    d_state.product([&](int k, int i) { return query[i * LEFT + k]; },
                    [&](int i, int v) { return answer[i * VALUE_ROW + v]; }, depth);
    __syncthreads();
  }
  Real* out = d_states + (memories.of.at(b, column, h) - states);
  d_state.each([&](int k, int v, Real& x) {
    if (k < keys && v < values) out[k * stride + v] += x;
  });
  long long matrix = (static_cast<long long>(place) * heads + h) * values;
  d_gate.each([&](int v, int w, Real& x) {
    if (v < values && w < values) d_cached[(matrix + v) * values + w] = x;
  });
}

// Gradient of A from `many` blocks of tokens after another: parts (B, parts, H, V, V).
extern "C" __global__ void __launch_bounds__(MANY, 1)
    sigmoid_online_backward(const Token* reads, const Real* d_base, Real* d_online, int tokens,
                            int heads, int values, int many) {
  MC_ARENA(arena);
  Real* answer = arena.take<Real>(ROWS * PRODUCT_ROW);
  Real* d_sums = arena.take<Real>(ROWS * PRODUCT_ROW);
  int begin = blockIdx.x * many * ROWS, end = min(tokens, begin + many * ROWS);
  Tile<VALUES, VALUES, MANY> out;
  out.clear();
  for (int from = begin; from < end; from += ROWS) {
    Rows rows = rows_from(from, tokens, heads);
    load<ROWS, VALUES>(answer, PRODUCT_ROW, rows.of(reads, values));
    load<ROWS, VALUES>(d_sums, PRODUCT_ROW, rows.of(d_base, values));
    __syncthreads();
    out.product([&](int v, int i) { return answer[i * PRODUCT_ROW + v]; },
                [&](int i, int w) { return d_sums[i * PRODUCT_ROW + w]; }, up(rows.count, 8));
    __syncthreads();
  }
  long long place = static_cast<long long>(blockIdx.z) * gridDim.x + blockIdx.x;
  Real* matrix = d_online + (place * heads + blockIdx.y) * values * values;
  out.each([&](int v, int w, Real& x) {
    if (v < values && w < values) matrix[v * values + w] = x;
  });
}
