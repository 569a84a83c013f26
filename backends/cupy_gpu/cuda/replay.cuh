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

// Steps begin <= step < end of a replay, of which every `every`-th state is kept on a level.
struct Stretch {
  int level, begin, end, every;
  Real* first;
};

// Runs `advance(step, before, after)` for a stretch; states between go through the state of work.
template <class Advance>
__device__ __forceinline__ void sow(const Replay& replay, Stretch s, Advance advance) {
  for (int step = s.begin; step < s.end; ++step) {
    int done = step - s.begin, next = done + 1;
    Real* before = done % s.every ? replay.work() : replay.state(s.level, done / s.every, s.first);
    Real* after = next % s.every ? replay.work() : replay.state(s.level, next / s.every, s.first);
    advance(step, before, after);
  }
}

// Calls `run(stretch)` to replay, which is to `sow`, and `back(step, before, after)` for the steps
// count - 1 to 0; `after` is there if `afters`.
template <class Run, class Back>
__device__ __forceinline__ void walk_back(const Replay& replay, int count, Real* start, int afters,
                                          Run run, Back back) {
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
        Stretch stretch{0, 0, (tops - 1) * replay.top, replay.top, start};
        if (level == 1)
          stretch = {1, top, top + (middles - 1) * replay.middle, replay.middle, outer};
        if (level == 2) stretch = {2, begin, end - 1 + afters, 1, inner};
        run(stretch);
      }
      from = 2;
      for (int step = end - 1; step >= begin; --step)
        back(step, replay.state(2, step - begin, inner), replay.state(2, step - begin + 1, inner));
    }
    from = 1;
  }
}
