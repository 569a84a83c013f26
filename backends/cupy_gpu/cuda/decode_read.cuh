// The checkpoints' part in a token's answer, read once each by as many blocks as fill the device.
#pragma once
#include "decode_codes.cuh"

struct Stored {  // checkpoints of a head of a row: states (rows, width), of which `asked` are read
  const Code* codes;
  const float* scales;
  int asked, rows, width, values;

  __device__ __forceinline__ Real number(long long slot, int row, int column) const {
    Real found = Real(codes[(slot * rows + row) * width + column]);
    return SCALED ? found * Real(scales[slot * rows + row]) : found;
  }
  // This thread's share of `S^T q` in its column.
  __device__ __forceinline__ Real answer(long long slot, const Real* query) const {
    int lane = threadIdx.x % LANES, part = threadIdx.x / LANES;
    const Code* state = codes + slot * rows * width;
    Real own = Real(0);
    if (lane < width && part < PARTS)
      for (int k = part; k < asked; k += PARTS) {
        Real factor = SCALED ? query[k] * Real(scales[slot * rows + k]) : query[k];
        own += factor * Real(state[k * width + lane]);
      }
    return own;
  }
  // What an answer whose last number is `last` is multiplied by.
  __device__ __forceinline__ Real division(Plan plan, long long slot, Real last) const {
    return divided(plan, last, plan.division() == FLOORED ? number(slot, asked, 0) : Real(0));
  }
};

// The same, divided; `lasts` holds 2 PARTS numbers, and `turn` counts the calls: one barrier each.
__device__ __forceinline__ Real divided_answer(const Stored& stored, Plan plan, long long slot,
                                               const Real* query, Real* lasts, int turn) {
  Real own = stored.answer(slot, query), last = Real(0);
  lasts += (turn & 1) * PARTS;
  if (threadIdx.x % LANES == stored.values && threadIdx.x / LANES < PARTS)
    lasts[threadIdx.x / LANES] = own;
  __syncthreads();
  for (int part = 0; part < PARTS; ++part) last += lasts[part];
  return own * stored.division(plan, slot, last);
}

// An answer weighed channel by channel, by a gate made of it; `offset` is all else in the gate. The
// first part's threads return it, the others 0.
__device__ __forceinline__ Real gated_answer(Real own, int values, Real offset, const Real* matrix,
                                             Real* whole, Real* scratch) {
  int lane = threadIdx.x % LANES;
  Real answer = column_total(own, scratch);
  if (threadIdx.x < LANES) whole[lane] = answer;
  __syncthreads();
  Real sum = column_sum(values, scratch, [&](int i) {
    return lane < values ? whole[i] * matrix[i * values + lane] : Real(0);
  });
  return threadIdx.x < LANES ? sigmoid(offset + sum) * answer : Real(0);
}

// Part of the sum over checkpoints, by block (entry, part): partial (entries, parts, V).
extern "C" __global__ void __launch_bounds__(THREADS)
    decode_read(const Real* q, const Real* gate_cached, const Real* offsets, const int* fed,
                const Code* codes, const float* scales, const Books* all_books, const Real* weights,
                const int* chosen, Real* partial, int plan_bits, int heads, int asked, int rows,
                int width, int values, int slots, int top_k) {
  Plan plan{plan_bits};
  Place place(fed, heads);
  Books books = all_books[place.row];
  Stored stored{codes, scales, asked, rows, width, values};
  int lane = threadIdx.x % LANES, parts = gridDim.y;
  MC_ARENA(arena);
  Real* scratch = arena.take<Real>(PARTS * LANES);
  Real* whole = arena.take<Real>(LANES);
  Real* lasts = arena.take<Real>(2 * PARTS);
  Real* query = arena.take<Real>(asked);
  for (int i = threadIdx.x; i < asked; i += THREADS) {
    Real x = q ? q[(long long)place.entry * asked + i] : Real(1);
    query[i] = plan.mapped() ? positive(x) : x;
  }
  __syncthreads();
  bool choice = top_k > 0 && books.count > top_k;
  int count = choice ? top_k : books.count;
  int begin = int((long long)count * blockIdx.y / parts);
  int end = int((long long)count * (blockIdx.y + 1) / parts);
  bool gated = plan.weights() == ANSWERED;
  Real offset = gated && lane < values ? offsets[(long long)place.entry * values + lane] : Real(0);
  Real total = Real(0);
  for (int i = begin; i < end; ++i) {
    int age = choice ? chosen[place.entry * top_k + i] : i;
    long long slot = place.at * slots + slot_of(books, age, slots);
    Real own = plan.division() == UNDIVIDED
                   ? stored.answer(slot, query)
                   : divided_answer(stored, plan, slot, query, lasts, i);
    total += gated ? gated_answer(own, values, offset,
                                  gate_cached + (long long)place.head * values * values, whole,
                                  scratch)
                   : weights[(long long)place.entry * slots + i] * own;
  }
  total = column_total(total, scratch);
  if (threadIdx.x < LANES && lane < values)
    partial[((long long)place.entry * parts + blockIdx.y) * values + lane] = total;
}
