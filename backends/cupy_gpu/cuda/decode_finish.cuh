// The end of a token: its answer, the checkpoint of a segment that ends, and the books.
#pragma once
#include "decode_codes.cuh"

// y from the online memory and the parts; where a segment ends, its checkpoint and its context.
extern "C" __global__ void __launch_bounds__(THREADS)
    decode_finish(const Real* answers, const Real* shares, const Real* partial, const int* fed,
                  const int* closes, const Real* online, Real* key_sums, const Books* all_books,
                  Code* codes, float* scales, Real* contexts, Real* y, int plan_bits, int heads,
                  int keys, int rows, int width, int values, int slots, int top_k, int parts) {
  Plan plan{plan_bits};
  Place place(fed, heads);
  Books books = all_books[place.row];
  int used = slots ? Share(counted(books.count, top_k), 0, parts).used : 0;
  for (int j = threadIdx.x; j < values; j += THREADS) {
    Real sum = (slots ? shares[place.entry] : Real(1)) * answers[(long long)place.entry * values + j];
    for (int part = 0; part < used; ++part)
      sum += partial[((long long)place.entry * parts + part) * values + j];
    y[(long long)place.entry * values + j] = sum;
  }
  if (!slots || !closes[place.row]) return;
  // Full, the newest takes the place of the oldest.
  int slot = slot_of(books, books.count < slots ? books.count : 0, slots), size = rows * width;
  long long to = place.at * slots + slot;
  store_state(online + place.at * size, codes + to * size, scales + to * rows, rows, width);
  if (plan.weights() != ROUTED) return;
  Real share = plan.sums() ? Real(1) : Real(1) / Real(books.length + 1);
  for (int i = threadIdx.x; i < keys; i += THREADS) {
    contexts[to * keys + i] = share * key_sums[place.at * keys + i];
    key_sums[place.at * keys + i] = Real(0);
  }
}

// The books after the token; a thread does one row.
extern "C" __global__ void __launch_bounds__(THREADS)
    decode_advance(const int* fed, Books* all_books, int* closes, int count, int slots) {
  int row = blockIdx.x * THREADS + threadIdx.x;
  if (row >= count) return;
  if (fed) row = fed[row];
  Books& books = all_books[row];
  books.length++;
  books.position++;
  if (!closes[row]) return;
  closes[row] = 0;
  books.length = 0;
  if (books.count < slots) {
    books.count++;
  } else if (slots) {
    books.head = (books.head + 1) % slots;
  }
}
