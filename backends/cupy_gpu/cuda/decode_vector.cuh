// One token of some rows of vector memories, each of `Cell`: as `decode.cu`, and read as y = h.
#pragma once
#include "decode_finish.cuh"
#include "decode_logits.cuh"
#include "decode_offset.cuh"
#include "decode_read.cuh"

// products (G V) = h U for one head.
__device__ __forceinline__ void recur(const Real* h, const Real* recurrent, int values,
                                      Real* products) {
  int columns = Cell::GATES * values;
  for (int j = threadIdx.x; j < columns; j += THREADS) {
    Real sum = Real(0);
#pragma unroll 8
    for (int i = 0; i < values; ++i) sum += h[i] * recurrent[i * columns + j];
    products[j] = sum;
  }
}

// The vectors (VECTORS, V) after the token, the first of them to `h` as well; x (G V).
__device__ __forceinline__ void advance(const Real* x, const Real* products, const Real* bias,
                                        Real* state, bool fresh, int values, Real* h) {
  Real now[Cell::GATES], product[Cell::GATES], vectors[Cell::VECTORS], kept[Cell::KEPT];
  for (int j = threadIdx.x; j < values; j += THREADS) {
    for (int gate = 0; gate < Cell::GATES; ++gate) {
      now[gate] = x[gate * values + j];
      product[gate] = products[gate * values + j];
    }
    for (int e = 0; e < Cell::VECTORS; ++e) vectors[e] = fresh ? Real(0) : state[e * values + j];
    Cell::token(now, product, bias ? bias[j] : Real(0), vectors, kept);
    for (int e = 0; e < Cell::VECTORS; ++e) state[e * values + j] = vectors[e];
    h[j] = vectors[0];
  }
}

// The vectors after the token, by the first block of a head of a row; by the others, if there are
// any, logits of its checkpoints.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    decode_token(const Real* x, const Real* recurrent, const Real* bias, const Real* k,
                 const Real* u, const Real* temperature, const Real* gate_online,
                 const Real* gate_bias, const int* fed, Real* all_online, Real* key_sums,
                 const Real* contexts, const Books* all_books, Real* logits, Real* own_logits,
                 Real* answers, Real* offsets, int plan_bits, int heads, int keys, int rows,
                 int width, int values, int slots, Real scale) {
  Plan plan{plan_bits};
  Place place(fed, heads);
  Books books = all_books[place.at];
  MC_ARENA(arena);
  Real* scratch = arena.take<Real>(PARTS * LANES);
  Real* h = arena.take<Real>(LANES);
  Real* key = arena.take<Real>(keys);
  Real* products = arena.take<Real>(Cell::GATES * values);
  Routing to{u, temperature, contexts, key_sums, own_logits, logits, keys, slots, scale};
  if (blockIdx.y > 0) {
    checkpoint_logits(to, place, books, blockIdx.y - 1, gridDim.y - 1, key);
    return;
  }
  bool routes = slots && plan.weights() == ROUTED;
  bool fresh = books.length == 0 && (books.position == 0 || !plan.carries());
  Real* state = all_online + place.at * rows * width;
  for (int j = threadIdx.x; j < values; j += THREADS) h[j] = fresh ? Real(0) : state[j];
  for (int i = threadIdx.x; i < keys && routes; i += THREADS)
    key[i] = k[(long long)place.entry * keys + i];
  __syncthreads();
  long long columns = Cell::GATES * values;
  recur(h, recurrent + place.head * values * columns, values, products);
  __syncthreads();
  advance(x + place.entry * columns, products, bias ? bias + place.head * values : nullptr, state,
          fresh, values, h);
  __syncthreads();
  Real answer = threadIdx.x % LANES < values ? h[threadIdx.x % LANES] : Real(0);
  if (threadIdx.x < values) answers[(long long)place.entry * values + threadIdx.x] = answer;
  if (plan.weights() == ANSWERED)
    find_offsets({gate_online, gate_bias, offsets}, answer, place, values, h, scratch);
  if (routes) online_logit(to, plan, place, books, key, scratch);
}
