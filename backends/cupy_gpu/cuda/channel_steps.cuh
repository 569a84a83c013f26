// The chunks of a run, one after the other: a tile of the state goes past them in registers.
//
// A run is what lies between two restarts. Its block, one for each tile of values, keeps the state
// before each chunk; the last of a segment's is its checkpoint.
#pragma once
#include "channel_cuts.cuh"

typedef Blocks<KEYS, VALUES, THREADS> StateTile;

template <class T>
__device__ __forceinline__ void fill(StateTile& state, Matrix<T> from) {
  state.each([&](int i, int j, Real& number) { number = from.get(i, j); });
}
template <class T>
__device__ __forceinline__ void add(StateTile& state, Matrix<T> from) {
  state.each([&](int i, int j, Real& number) { number += from.get(i, j); });
}
__device__ __forceinline__ void keep(StateTile& state, Matrix<Real> to) {
  state.each([&](int i, int j, Real& number) { to.put(i, j, number); });
}
__device__ __forceinline__ void share(StateTile& state, Real* to) {
  state.each([&](int i, int j, Real& number) { to[i * VALUE_ROW + j] = number; });
}
// By the decays of a whole chunk.
__device__ __forceinline__ void forget(StateTile& state, Operands o) {
  state.each([&](int i, int, Real& number) { number *= o.gap(SUBS, -1, i); });
}

// What blockIdx says: a row and a segment, a head, a tile of values.
struct Task {
  int row, segment, head, value;
  __device__ __forceinline__ explicit Task(Cuts cuts)
      : row(blockIdx.x / cuts.segments), segment(blockIdx.x % cuts.segments), head(blockIdx.y),
        value(blockIdx.z * VALUES) {}
};

// Calls step(state, tokens, chunk) for each chunk, where the state goes from before to after it.
//
// If `apart`, every segment is a block's: it goes on from the checkpoint of the one before.
// Otherwise checkpoints are written.
template <class Step>
__device__ __forceinline__ void walk(Cuts cuts, Shape shape, const Real* carry, Real* checkpoints,
                                     Real* states, bool apart, Step step) {
  Task task(cuts);
  int row = task.row, s = task.segment;
  bool begins = s == 0 || cuts.restarts(row, s);
  if (!begins && !apart) return;
  StateTile state;
  state.clear();
  auto end_of = [&](int segment) {
    long long index = ((long long)row * cuts.segments + segment) * shape.heads + task.head;
    return state_of(checkpoints, index, shape, task.value);
  };
  auto carried = (long long)row * shape.heads + task.head;
  if (!cuts.restarts(row, s)) {
    if (s > 0) fill(state, end_of(s - 1));
    else if (carry) fill(state, state_of(carry, carried, shape, task.value));
  }
  for (; s < cuts.segments && (s == task.segment || !(apart || cuts.restarts(row, s))); ++s) {
    for (int chunk = cuts.chunk(row, s); chunk < cuts.chunk(row, s + 1); ++chunk) {
      long long index = (long long)chunk * shape.heads + task.head;
      keep(state, state_of(states, index, shape, task.value));
      step(state, cuts.place(row, task.head, s, chunk), index);
    }
    if (!apart && cuts.begin(row, s) < cuts.begin(row, s + 1)) keep(state, end_of(s));
  }
}

// The same from the last chunk of a run to its first, with the gradient of the state; it is kept
// after each chunk, in `d_states`. d_checkpoints enter at the ends of segments.
template <class Step>
__device__ __forceinline__ void walk_back(Cuts cuts, Shape shape, Real* d_carry,
                                          const Real* d_checkpoints, Real* d_states, Step step) {
  Task task(cuts);
  int row = task.row, first = task.segment, s = first + 1;
  if (first > 0 && !cuts.restarts(row, first)) return;
  while (s < cuts.segments && !cuts.restarts(row, s)) ++s;
  StateTile d_state;
  d_state.clear();
  for (--s; s >= first; --s) {
    if (cuts.begin(row, s) == cuts.begin(row, s + 1)) continue;
    long long end = ((long long)row * cuts.segments + s) * shape.heads + task.head;
    add(d_state, state_of(d_checkpoints, end, shape, task.value));
    for (int chunk = cuts.chunk(row, s + 1) - 1; chunk >= cuts.chunk(row, s); --chunk) {
      long long index = (long long)chunk * shape.heads + task.head;
      keep(d_state, state_of(d_states, index, shape, task.value));
      step(d_state, cuts.place(row, task.head, s, chunk), index);
    }
  }
  if (first > 0 || !d_carry || cuts.restarts(row, 0)) return;
  keep(d_state, state_of(d_carry, (long long)row * shape.heads + task.head, shape, task.value));
}
