// `read` of matrix memories with given gates: see backends/numpy_ref/read.py for what is meant.
#include "answers.cuh"
#include "states_backward.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    read_states(const Token* q, const Real* states, const Real* gates, const int* first,
                const int* last, Token* y, int tokens, int heads, int keys, int values, int columns,
                int size, int stride, int divided) {
  MC_ARENA(arena);
  int* sight = arena.take<int>(2 * ROWS);
  Real* query = arena.take<Real>(ROWS * KEY_ROW);
  AnswerRoom room = answer_room(arena, divided);
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  Memories memories = {{states, nullptr, columns, 0, heads, size}, stride, keys, values, divided};
  load_sight(sight, first, last, rows);
  load<ROWS, KEYS>(query, KEY_ROW, rows.of(q, keys));
  __syncthreads();
  Sight seen = sight_of(sight);
  Answers out;
  out.clear();
  add_answers(rows, seen, memories, query, GivenGates{gates, rows, seen, columns}, room, out);
  out.each([&](int i, int v, Real& x) {
    if (i < rows.count && v < values) y[rows.scalar(i) * values + v] = Token(x);
  });
}

// dq and, where there are gates, d_gates at what is seen.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    read_queries_backward(const Token* q, const Real* states, const Real* gates, const int* first,
                          const int* last, const Token* dy, Token* dq, Real* d_gates, int tokens,
                          int heads, int keys, int values, int columns, int size, int stride,
                          int divided) {
  MC_ARENA(arena);
  int* sight = arena.take<int>(2 * ROWS);
  Real* query = arena.take<Real>(ROWS * KEY_ROW);
  Real* d_answer = arena.take<Real>(ROWS * VALUE_ROW);
  BackwardRoom room = backward_room(arena, divided);
  Rows rows = rows_from(blockIdx.x * ROWS, tokens, heads);
  Memories memories = {{states, nullptr, columns, 0, heads, size}, stride, keys, values, divided};
  load_sight(sight, first, last, rows);
  load<ROWS, KEYS>(query, KEY_ROW, rows.of(q, keys));
  load<ROWS, VALUES>(d_answer, VALUE_ROW, rows.of(dy, values));
  __syncthreads();
  Sight seen = sight_of(sight);
  Queries out[SLABS];
  for (int slab = 0; slab < SLABS; ++slab) out[slab].clear();
  auto keep = [&](int column, int n, const Real*, const Real* d_weights) {
    for (int at = threadIdx.x; d_gates && at < ROWS * COLUMNS; at += THREADS) {
      int i = at / COLUMNS, c = at % COLUMNS;
      if (seen.sees(i, column + c))
        d_gates[rows.scalar(i) * columns + column + c] = d_weights[i * PAIR_ROW + c];
    }
  };
  answers_backward(rows, seen, memories, query, d_answer, GivenGates{gates, rows, seen, columns},
                   keep, room, out);
  store_queries(rows, out, dq, keys);
}

// Adds to the gradient of one checkpoint a block.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    read_states_backward(const Token* q, const Real* states, const Real* gates, const int* first,
                         const int* last, const int* begin, const int* end, const Token* dy,
                         Real* d_states, int tokens, int heads, int keys, int values, int columns,
                         int size, int stride, int divided) {
  MC_ARENA(arena);
  StateRoom room = state_room(arena, divided);
  int column = blockIdx.x, place = blockIdx.z * columns + column, since = begin[place];
  Memories memories = {{states, nullptr, columns, 0, heads, size}, stride, keys, values, divided};
  StateTile d_state;
  d_state.clear();
  for (int k = threadIdx.x; divided && k < KEYS; k += THREADS) {
    const Real* state = memories.of.at(blockIdx.z, column, blockIdx.y);
    room.vectors[k] = k < keys ? state[k * stride + values] : Real(0);
    room.d_vector[k] = 0;
  }
  for (int from = since; from < end[place]; from += ROWS) {
    Rows rows = rows_from(from, tokens, heads);
    load_sight(room.sight, first, last, rows);
    load<ROWS, KEYS>(room.q, LEFT_ROW, rows.of(q, keys));
    load<ROWS, VALUES>(room.dy, PRODUCT_ROW, rows.of(dy, values));
    __syncthreads();
    GivenGates given = {gates, rows, {room.sight, room.sight + ROWS, 0, 0}, columns};
    for (int i = threadIdx.x; i < ROWS; i += THREADS) room.weights[i] = given.gate(i, column);
    if (divided) dot_rows(room.q, LEFT_ROW, room.vectors, room.divisors, rows.busy());
    __syncthreads();
    if (divided) {
      divide_weights(room);
      weights_backward(rows, memories, column, from > since, room);
      __syncthreads();
      for (int i = threadIdx.x; i < ROWS; i += THREADS)
        room.d_weights[i] = room.weights[i] == 0 ? Real(0)
                                                 : -room.d_weights[i] / room.divisors[i] *
                                                       room.weights[i];
      __syncthreads();
      add_rows(room.q, LEFT_ROW, room.d_weights, room.d_vector, rows.count);
    }
    add_outer(d_state, room, rows.count);
    __syncthreads();
  }
  Real* out = d_states + (memories.of.at(blockIdx.z, column, blockIdx.y) - states);
  store_state(d_state, out, memories);
  for (int k = threadIdx.x; divided && k < keys; k += THREADS)
    out[k * stride + values] += room.d_vector[k];
}
