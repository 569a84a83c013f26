// Backwards through states that are not kept: a segment is replayed from the state at its start.
//
// States are kept before every `top` steps; before every `middle` steps of one such part; and before
// every step of one such part of that. So n steps need about 3 n^(1/3) states, or 2 n^(1/2) of them
// where `top` is not less than n, for the price of running forward once or twice more.
#pragma once
#include "base.cuh"

struct Replay {
  Real* states;     // room for `most` top and middle parts, all steps of one, and one state of work
  long long size;   // of a state
  int top, middle;  // steps
  int tops, middles;  // how many parts there are at most

  __device__ __forceinline__ Real* state(int level, int place, Real* first) const {
    if (place == 0) return first;
    int before = level == 0 ? 0 : level == 1 ? tops : tops + middles;
    return states + (before + place) * size;
  }
  __device__ __forceinline__ Real* work() const { return states; }
};

// Runs `advance(step, before, after)` for begin <= step < end, keeping every `every`-th state.
template <class Advance>
__device__ __forceinline__ void sow(const Replay& replay, int level, int begin, int end, int every,
                                    Real* first, Advance advance) {
  for (int step = begin; step < end; ++step) {
    int done = step - begin, next = done + 1;
    Real* before = done % every ? replay.work() : replay.state(level, done / every, first);
    Real* after = next % every ? replay.work() : replay.state(level, next / every, first);
    advance(step, before, after);
  }
}

// Calls `back(step, before, after)` for the steps count - 1 to 0; `after` is there if `afters`.
template <class Advance, class Back>
__device__ __forceinline__ void walk_back(const Replay& replay, int count, Real* start, int afters,
                                          Advance advance, Back back) {
  int tops = (count + replay.top - 1) / replay.top, from = 0;
  for (int i = tops - 1; i >= 0; --i) {
    int top = i * replay.top, top_end = min(top + replay.top, count);
    int middles = (top_end - top + replay.middle - 1) / replay.middle;
    for (int j = middles - 1; j >= 0; --j) {
      int begin = top + j * replay.middle, end = min(begin + replay.middle, top_end);
      Real *outer = nullptr, *inner = nullptr;
      for (int level = from; level < 3; ++level) {
        outer = replay.state(0, i, start);
        inner = replay.state(1, j, outer);
        int first = level == 0 ? 0 : level == 1 ? top : begin;
        int last = level == 0   ? (tops - 1) * replay.top
                   : level == 1 ? top + (middles - 1) * replay.middle
                                : end - 1 + afters;
        int every = level == 0 ? replay.top : level == 1 ? replay.middle : 1;
        sow(replay, level, first, last, every, level == 0 ? start : level == 1 ? outer : inner,
            advance);
      }
      from = 2;
      for (int step = end - 1; step >= begin; --step)
        back(step, replay.state(2, step - begin, inner),
             replay.state(2, step - begin + 1, inner));
    }
    from = 1;
  }
}
