// The end of a token: its answer, the checkpoint of a segment that ends, and the books.
#pragma once
#include "decode_codes.cuh"

struct Kept {  // where checkpoints and their contexts go
  Code* codes;
  float* scales;
  Real *contexts, *key_sums;
  int keys, rows, width, slots;
};

// The state becomes the newest checkpoint; if there are as many as may be, in the oldest's place.
__device__ __forceinline__ void keep(const Kept& to, const Real* online, Plan plan, Place place,
                                     Books books) {
  int slot = slot_of(books, books.count < to.slots ? books.count : 0, to.slots);
  long long at = place.at * to.slots + slot, size = to.rows * to.width;
  store_state(online + place.at * size, to.codes + at * size, to.scales + at * to.rows, to.rows,
              to.width);
  if (plan.weights() != ROUTED) return;
  Real share = plan.sums() ? Real(1) : Real(1) / Real(books.length + 1);
  for (int i = threadIdx.x; i < to.keys; i += THREADS) {
    Real& sum = to.key_sums[place.at * to.keys + i];
    to.contexts[at * to.keys + i] = share * sum;
    sum = Real(0);
  }
}

// The books after the token.
__device__ __forceinline__ Books advanced(Books books, bool closes, int slots) {
  books.length++;
  books.position++;
  if (!closes) return books;
  books.length = 0;
  if (books.count < slots) {
    books.count++;
  } else if (slots) {
    books.head = (books.head + 1) % slots;
  }
  return books;
}

// y from the online memory and the parts; where a segment ends, its checkpoint and its context.
extern "C" __global__ void __launch_bounds__(THREADS)
    decode_finish(const Real* answers, const Real* shares, const Real* partial, const int* fed,
                  int* all_closes, const Real* online, Real* key_sums, Books* all_books,
                  Code* codes, float* scales, Real* contexts, Real* y, int plan_bits, int heads,
                  int keys, int rows, int width, int values, int slots, int top_k, int parts) {
  Plan plan{plan_bits};
  Place place(fed, heads);
  Books books = all_books[place.at];
  bool closes = all_closes[place.at];
  long long first = (long long)place.entry * values;
  int used = slots ? Share(counted(books.count, top_k), 0, parts).used : 0;
  for (int j = threadIdx.x; j < values; j += THREADS) {
    Real sum = (slots ? shares[place.entry] : Real(1)) * answers[first + j];
    for (int part = 0; part < used; ++part) sum += partial[(first * parts + part * values) + j];
    y[first + j] = sum;
  }
  if (slots && closes)
    keep(Kept{codes, scales, contexts, key_sums, keys, rows, width, slots}, online, plan, place,
         books);
  __syncthreads();  // all threads have read the books
  if (threadIdx.x > 0) return;
  all_books[place.at] = advanced(books, closes, slots);
  all_closes[place.at] = 0;
}
