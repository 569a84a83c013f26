// The gates of a matrix LSTM: what its running maximum makes of them, and back. A warp for each run,
// 32 tokens at a time.
//
//     m_t = max(f_t + m_{t-1}, i_t)      forget_t = f_t + m_{t-1} - m_t      write_t = e^(i_t - m_t) / sqrt(K)
//
// Maxima of sums are put together from two parts like sums are: so a warp finds them in log(32)
// steps. Sums of gates are taken in double: there are thousands, and m is their difference.
#pragma once
#include "load.cuh"
#include "reduce.cuh"

constexpr int THREADS = 128;

#define SIZES int tokens, int heads, int keys, int values, int segments, int count
struct Sizes {
  int tokens, heads, keys, values, segments;
  __device__ __forceinline__ long long token(int row, int t, int head) const {
    return ((long long)row * tokens + t) * heads + head;
  }
  // Where m lies in states (..., H, (K + 1)(V + 1)).
  __device__ __forceinline__ long long maximum(long long index) const {
    return (index * (keys + 1) + keys) * (values + 1);
  }
};

struct Cuts {
  const int *bounds, *restart, *segment;
};

// The tokens of a run, from a restart (or a row's start) to the next.
struct Run {
  int row, head, first, last, begin, end;  // segments [first, last), tokens [begin, end)
  bool goes_on;                            // from what was carried in
};

// `task` counts rows, segments and heads; false if no run begins with that segment.
__device__ __forceinline__ bool find_run(int task, Cuts cuts, Sizes sizes, Run& run) {
  run.head = task % sizes.heads;
  run.first = task / sizes.heads % sizes.segments;
  run.row = task / sizes.heads / sizes.segments;
  const int* restart = cuts.restart + (long long)run.row * sizes.segments;
  const int* bounds = cuts.bounds + (long long)run.row * (sizes.segments + 1);
  if (run.first > 0 && !restart[run.first]) return false;
  run.goes_on = !restart[run.first];
  run.last = run.first + 1;
  while (run.last < sizes.segments && !restart[run.last]) ++run.last;
  run.begin = bounds[run.first];
  run.end = bounds[run.last];
  return true;
}

struct Maxima {
  const Real *igate, *fgate, *carry;
  Real *forget, *write, *largest, *ends;
};

__device__ __forceinline__ void find_maxima(Maxima x, Run run, Cuts cuts, Sizes sizes) {
  int lane = threadIdx.x & 31;
  double scale = 1 / sqrt(double(sizes.keys)), m = 0;
  long long carried = (long long)run.row * sizes.heads + run.head;
  if (run.goes_on && x.carry) m = x.carry[sizes.maximum(carried)];
  for (int first = run.begin; first < run.end; first += 32) {
    int t = first + lane;
    long long at = sizes.token(run.row, t, run.head);
    double kept = t < run.end ? double(x.fgate[at]) : 0;
    double written = t < run.end ? double(x.igate[at]) : double(LOWEST);
    double sum = kept, most = written;
#pragma unroll
    for (int by = 1; by < 32; by <<= 1) {
      double before = __shfl_up_sync(EVERY_LANE, sum, by);
      double highest = __shfl_up_sync(EVERY_LANE, most, by);
      if (lane < by) continue;
      most = max(sum + highest, most);
      sum += before;
    }
    double now = max(sum + m, most), before = __shfl_up_sync(EVERY_LANE, now, 1);
    if (lane == 0) before = m;
    if (t < run.end) {
      x.largest[at] = Real(now);
      x.forget[at] = Real(min(kept + before - now, 0.0));
      x.write[at] = Real(exp(min(written - now, 0.0)) * scale);
    }
    m = __shfl_sync(EVERY_LANE, now, 31);
  }
  __syncwarp();
  for (int s = run.first + lane; s < run.last; s += 32) {
    const int* bounds = cuts.bounds + (long long)run.row * (sizes.segments + 1) + s;
    if (bounds[0] == bounds[1]) continue;
    long long end = ((long long)run.row * sizes.segments + s) * sizes.heads + run.head;
    x.ends[sizes.maximum(end)] = x.largest[sizes.token(run.row, bounds[1] - 1, run.head)];
  }
}

struct MaximaGradients {
  const Real *d_forget, *d_write, *d_largest, *d_ends;  // d_ends may be null
  Real *igate, *fgate, *carry;                          // carry may be null
};

// The maximum passes its gradient to the larger of its two arguments: that of m before a token is
//     d_t = keeps_t ? d_{t+1} + d_largest_t - d_write_t : d_forget_t
// and such steps, each a factor 0 or 1 and a sum, are put together like sums too.
__device__ __forceinline__ void maxima_backward(Maxima x, MaximaGradients d, Run run, Cuts cuts,
                                                Sizes sizes) {
  int lane = 31 - int(threadIdx.x & 31);  // from the last token of 32 to the first
  long long carried = (long long)run.row * sizes.heads + run.head;
  Real start = run.goes_on && x.carry ? x.carry[sizes.maximum(carried)] : Real(0);
  double later = 0;
  for (int first = run.begin + (run.end - run.begin - 1) / 32 * 32; first >= run.begin; first -= 32) {
    int t = first + 31 - lane;
    bool real = t < run.end;
    long long at = sizes.token(run.row, t, run.head);
    double factor = 1, sum = 0, entering = 0, written = 0;
    bool keeps = true;
    if (real) {
      Real before = t > run.begin ? x.largest[at - sizes.heads] : start;
      keeps = x.fgate[at] + before >= x.igate[at];
      written = d.d_write[at];
      entering = d.d_largest[at];
      int s = cuts.segment[(long long)run.row * sizes.tokens + t];
      if (d.d_ends && t + 1 == cuts.bounds[(long long)run.row * (sizes.segments + 1) + s + 1])
        entering += d.d_ends[sizes.maximum(((long long)run.row * sizes.segments + s) * sizes.heads + run.head)];
      factor = keeps ? 1 : 0;
      sum = keeps ? entering - written : double(d.d_forget[at]);
    }
#pragma unroll
    for (int by = 1; by < 32; by <<= 1) {
      double after = __shfl_down_sync(EVERY_LANE, sum, by);
      double passes = __shfl_down_sync(EVERY_LANE, factor, by);
      if (lane < by) continue;
      sum += factor * after;
      factor *= passes;
    }
    double now = factor * later + sum, after = __shfl_down_sync(EVERY_LANE, now, 1);
    if (lane == 0) after = later;
    if (real) {
      d.fgate[at] = Real(now);
      d.igate[at] = Real(keeps ? written : after + entering - double(d.d_forget[at]));
    }
    later = __shfl_sync(EVERY_LANE, now, 0);
  }
  if (threadIdx.x % 32 == 0 && d.carry && run.goes_on) d.carry[sizes.maximum(carried)] = Real(later);
}
