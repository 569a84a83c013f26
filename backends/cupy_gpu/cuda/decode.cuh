// What the kernels of a decoded token share: the composition, whose turn it is, sums of columns.
#pragma once
#include "reduce.cuh"

constexpr int THREADS = 256;
constexpr int LANES = MC_WIDTH < THREADS ? MC_WIDTH : THREADS;  // columns at the same time
constexpr int PARTS = THREADS / LANES;                           // of the sum over rows
static_assert(MC_WIDTH <= THREADS, "a block holds one row of the state");

enum Law { WRITES, CORRECTS, REMOVES, REPEATS, EXPONENTIAL };
enum Weights { ROUTED, RESIDUAL, UNIFORM, FADING, ANSWERED };
enum Division { UNDIVIDED, PLAINLY, FLOORED };

// What a composition is, as `decode_plan.py` packs it.
struct Plan {
  int bits;
  __device__ __forceinline__ int law() const { return bits & 7; }
  __device__ __forceinline__ int weights() const { return bits >> 3 & 7; }
  __device__ __forceinline__ int division() const { return bits >> 6 & 3; }
  __device__ __forceinline__ bool carries() const { return bits >> 8 & 1; }
  __device__ __forceinline__ bool mapped() const { return bits >> 9 & 1; }   // keys and queries
  __device__ __forceinline__ bool by_head() const { return bits >> 10 & 1; }  // decays
  __device__ __forceinline__ bool sums() const { return bits >> 11 & 1; }
  __device__ __forceinline__ bool outside() const { return bits >> 12 & 1; }
};

struct Books {  // of a head of a row: the same in all of a row's heads
  int count, head, length, position;
};

// How many of the checkpoints are read.
__device__ __forceinline__ int counted(int held, int top_k) {
  return top_k > 0 && held > top_k ? top_k : held;
}

// The slot of a checkpoint, the oldest being 0.
__device__ __forceinline__ int slot_of(Books books, int age, int slots) {
  return (books.head + age) % slots;
}

// What a block works on: a head of one of the rows that are fed, listed in `fed` unless all are.
struct Place {
  int entry, head;  // entry: among the heads of what is fed
  long long at;     // among the heads of all rows
  __device__ __forceinline__ Place(const int* fed, int heads)
      : entry(blockIdx.x), head(entry % heads) {
    at = fed ? (long long)fed[entry / heads] * heads + head : entry;
  }
};

// How `count` checkpoints are shared out: block number `part` of `parts` reads those from `begin`
// up to `end`, and blocks from `used` on read none.
struct Share {
  int begin, end, used;
  __device__ __forceinline__ Share(int count, int part, int parts) {
    int each = max((count + parts - 1) / parts, 1);
    begin = min(part * each, count);
    end = min(begin + each, count);
    used = (count + each - 1) / each;
  }
};

// elu(x) + 1
__device__ __forceinline__ Real positive(Real x) { return max(x, Real(0)) + exp(min(x, Real(0))); }

// What an answer with the denominator `last` is multiplied by; -m is the largest exponent so far.
__device__ __forceinline__ Real divided(Plan plan, Real last, Real m) {
  if (plan.division() == FLOORED) last = max(abs(last), exp(min(-m, Real(80))));
  return Real(1) / (last + Real(1e-6));
}

// Sum of every part's number for this thread's column, the same in every part. Needs PARTS * LANES
// numbers of shared memory, free again after the call; all threads must call it.
__device__ __forceinline__ Real column_total(Real own, Real* scratch) {
  int lane = threadIdx.x % LANES, part = threadIdx.x / LANES;
  if (part < PARTS) scratch[part * LANES + lane] = own;
  __syncthreads();
  Real total = Real(0);
  for (int p = 0; p < PARTS; ++p) total += scratch[p * LANES + lane];
  __syncthreads();
  return total;
}

// Sum over k < keys of f(k) for this thread's column.
template <class F>
__device__ __forceinline__ Real column_sum(int keys, Real* scratch, F f) {
  int part = threadIdx.x / LANES;
  Real own = Real(0);
  if (part < PARTS)
    for (int k = part; k < keys; k += PARTS) own += f(k);
  return column_total(own, scratch);
}
