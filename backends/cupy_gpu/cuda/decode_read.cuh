// The checkpoints' part in a token's answer, read once each by as many blocks as fill the device.
#pragma once
#include "decode_codes.cuh"
#include "decode_gates.cuh"

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
#pragma unroll 8
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

// The gates of the token, by every block for itself; the first of an entry tells the online one.
__device__ __forceinline__ Gates find_gates(const Real* logits, Real own_logit, Plan plan, int held,
                                            int top_k, Real rate, Arena& arena, Real* scratch) {
  Gates gates{logits, nullptr, held, held, Real(0), Real(1), online_weight(plan, held, rate)};
  if (plan.weights() != ROUTED) return gates;
  Real* scores = arena.take<Real>(top_k);
  int* ages = arena.take<int>(top_k);
  Best* best = arena.take<Best>(THREADS / 32);
  if (top_k > 0 && held > top_k) {
    choose(logits, held, top_k, scores, ages, best);
    gates.scores = scores;
    gates.ages = ages;
    gates.count = top_k;
  }
  gates.soften(own_logit, !plan.outside(), scratch);
  return gates;
}

// What some checkpoints count for, and in which slots they lie: THREADS of each, shared.
struct Turns {
  Real* weights;
  int* slots;
  // Those from number `first` on up to `end`.
  __device__ __forceinline__ void fill(const Gates& gates, Plan plan, Books books, int first,
                                       int end, int room, Real rate) {
    int i = first + threadIdx.x;
    __syncthreads();
    if (i < end) {
      weights[threadIdx.x] = gates.weight(plan, i, rate);
      slots[threadIdx.x] = slot_of(books, gates.age(i), room);
    }
    __syncthreads();
  }
};

// Part of the sum over checkpoints, by block (entry, part): partial (entries, parts, V).
extern "C" __global__ void __launch_bounds__(THREADS)
    decode_read(const Real* q, const Real* gate_cached, const Real* offsets, const int* fed,
                const Code* codes, const float* scales, const Books* all_books, const Real* logits,
                const Real* own_logits, Real* shares, Real* partial, int plan_bits, int heads,
                int asked, int rows, int width, int values, int slots, int top_k, Real rate) {
  Plan plan{plan_bits};
  Place place(fed, heads);
  Books books = all_books[place.at];
  Share share(counted(books.count, top_k), blockIdx.y, gridDim.y);
  if (blockIdx.y > 0 && blockIdx.y >= share.used) return;
  MC_ARENA(arena);
  Real* scratch = arena.take<Real>(PARTS * LANES);
  Real* whole = arena.take<Real>(LANES);
  Real* lasts = arena.take<Real>(2 * PARTS);
  Real* query = arena.take<Real>(asked);
  Turns turns{arena.take<Real>(THREADS), arena.take<int>(THREADS)};
  for (int i = threadIdx.x; i < asked; i += THREADS) {
    Real x = q ? q[(long long)place.entry * asked + i] : Real(1);
    query[i] = plan.mapped() ? positive(x) : x;
  }
  Gates gates = find_gates(logits + (long long)place.entry * slots, own_logits[place.entry], plan,
                           books.count, top_k, rate, arena, scratch);
  if (blockIdx.y == 0 && threadIdx.x == 0) shares[place.entry] = gates.share;

  Stored stored{codes, scales, asked, rows, width, values};
  bool gated = plan.weights() == ANSWERED, plain = plan.division() == UNDIVIDED;
  int lane = threadIdx.x % LANES;
  Real offset = gated && lane < values ? offsets[(long long)place.entry * values + lane] : Real(0);
  const Real* matrix = gate_cached + (gated ? (long long)place.head * values * values : 0);
  Real total = Real(0);
  for (int i = share.begin; i < share.end; ++i) {
    int turn = (i - share.begin) % THREADS;
    if (turn == 0) turns.fill(gates, plan, books, i, share.end, slots, rate);
    long long slot = place.at * slots + turns.slots[turn];
    Real own = plain ? stored.answer(slot, query)
                     : divided_answer(stored, plan, slot, query, lasts, i);
    total += gated ? gated_answer(own, values, offset, matrix, whole, scratch)
                   : turns.weights[turn] * own;
  }
  total = column_total(total, scratch);
  if (threadIdx.x < LANES && lane < values)
    partial[((long long)place.entry * gridDim.y + blockIdx.y) * values + lane] = total;
}
