// One token of every row: the memory is written and read, gates are found, checkpoints are read
// once each by as many blocks as fill the device, and a segment that ends leaves its checkpoint.
//
//   S <- a S + b k e^T,  e = v - a S^T k (or v);   y = g S^T q + sum_i g_i M_i^T q
//
// Nothing is allocated and nothing asked of the host, so the four launches can be captured.
#include "decode_gates.cuh"

// Decay of a row of the state: one number per token, or one per channel, or none.
__device__ __forceinline__ Real decay_of(const Real* log_decay, const Real* decays, int at, int heads,
                                         int k, int keys) {
  if (decays) return exp(decays[at * keys + k]);
  return log_decay ? exp(log_decay[MC_DECAY_BY_HEAD ? at % heads : at]) : Real(1);
}

// The online memory after the token, its answer, and the gates. A block does one head of one row.
extern "C" __global__ void __launch_bounds__(THREADS)
    decode_token(const Real* q, const Real* k, const Real* v, const Real* u,
                 const Real* temperature, const Real* log_decay, const Real* decays,
                 const Real* beta, Real* online, Real* key_sums,
                 const Real* contexts, const Books* all_books, Real* weights, int* chosen,
                 Real* answers, Real* shares, Real* logits, int heads, int keys, int values,
                 int slots, Real scale, Real rate) {
  int at = blockIdx.x, lane = threadIdx.x % LANES, part = threadIdx.x / LANES;
  Books books = all_books[at / heads];
  MC_ARENA(arena);
  Real* scratch = arena.take<Real>(PARTS * LANES + THREADS);
  Real* key = arena.take<Real>(keys);
  Real* query = arena.take<Real>(keys);
  Best* best = arena.take<Best>(THREADS / 32);
  for (int i = threadIdx.x; i < keys; i += THREADS) {
    key[i] = k[at * keys + i];
    query[i] = q[at * keys + i];
  }
  __syncthreads();
  Real* state = online + (long long)at * keys * values;
  bool fresh = books.length == 0 && (books.position == 0 || !MC_CARRIES), real = lane < values;
  auto old = [&](int row) {
    if (fresh || !real) return Real(0);
    return decay_of(log_decay, decays, at, heads, row, keys) * state[row * values + lane];
  };
  Real written = real ? v[at * values + lane] : Real(0);
  if (MC_LAW == 1)
    written -= column_sum(keys, scratch, [&](int row) { return key[row] * old(row); });
  if (beta) written *= beta[at];
  Real answer = column_sum(keys, scratch, [&](int row) {
    Real now = old(row) + key[row] * written;
    if (real) state[row * values + lane] = now;
    return now * query[row];
  });
  if (part == 0 && real) answers[at * values + lane] = answer;

  long long first = (long long)at * slots;
  if (MC_WEIGHTS) {
    for (int age = threadIdx.x; age < books.count; age += THREADS)
      weights[first + age] = weight_of(age, books.count, rate);
    if (threadIdx.x == 0) shares[at] = online_weight(books.count, rate);
    return;
  }
  Real own = Real(0);
  for (int i = threadIdx.x; i < keys; i += THREADS) {
    Real sum = (books.length ? key_sums[at * keys + i] : Real(0)) + key[i];
    key_sums[at * keys + i] = sum;
    query[i] = scale * (temperature ? temperature[at % heads] : Real(1)) * u[at * keys + i];
    own += query[i] * sum;
  }
  own = block_sum(own, scratch);
  if (!MC_SUMS) own /= Real(books.length + 1);
  bool choice = MC_TOP_K > 0 && books.count > MC_TOP_K;
  Real* found = choice ? logits + first : weights + first;
  for (int age = threadIdx.x / 32; age < books.count; age += THREADS / 32) {
    const Real* context = contexts + (first + slot_of(books, age, slots)) * keys;
    Real logit = warp_dot(query, context, keys);
    if ((threadIdx.x & 31) == 0) found[age] = logit;
  }
  __syncthreads();
  if (choice) choose(found, books.count, weights + first, chosen + (long long)at * MC_TOP_K, best);
  Real share = soften(weights + first, choice ? MC_TOP_K : books.count, own, !MC_OUTSIDE, scratch);
  if (threadIdx.x == 0) shares[at] = share;
}

// Part of the sum over checkpoints, by block (head of a row, part): partial (B H, parts, V).
extern "C" __global__ void __launch_bounds__(THREADS)
    decode_read(const Real* q, const Real* checkpoints, const Books* all_books, const Real* weights,
                const int* chosen, Real* partial, int heads, int keys, int values, int slots) {
  int at = blockIdx.x, lane = threadIdx.x % LANES, parts = gridDim.y;
  Books books = all_books[at / heads];
  MC_ARENA(arena);
  Real* scratch = arena.take<Real>(PARTS * LANES);
  Real* query = arena.take<Real>(keys);
  for (int i = threadIdx.x; i < keys; i += THREADS) query[i] = q[at * keys + i];
  __syncthreads();
  bool choice = MC_TOP_K > 0 && books.count > MC_TOP_K;
  int count = choice ? MC_TOP_K : books.count;
  int begin = int((long long)count * blockIdx.y / parts);
  int end = int((long long)count * (blockIdx.y + 1) / parts);
  long long first = (long long)at * slots;
  Real own = Real(0);
  for (int i = begin; i < end; ++i) {
    int age = choice ? chosen[(long long)at * MC_TOP_K + i] : i;
    const Real* state = checkpoints + (first + slot_of(books, age, slots)) * keys * values;
    Real weight = weights[first + i];
    for (int k = threadIdx.x / LANES; k < keys && threadIdx.x < PARTS * LANES; k += PARTS)
      if (lane < values) own += weight * query[k] * state[k * values + lane];
  }
  Real sum = column_total(own, scratch);
  if (threadIdx.x < LANES && lane < values)
    partial[((long long)at * parts + blockIdx.y) * values + lane] = sum;
}

// y from the online memory and the parts; where a segment ends, its checkpoint and its context.
extern "C" __global__ void __launch_bounds__(THREADS)
    decode_finish(const Real* answers, const Real* shares, const Real* partial, const int* closes,
                  const Real* online, const Real* key_sums, const Books* all_books,
                  Real* checkpoints, Real* contexts, Real* y, int heads, int keys, int values,
                  int slots, int parts) {
  int at = blockIdx.x;
  Books books = all_books[at / heads];
  for (int j = threadIdx.x; j < values; j += THREADS) {
    Real sum = (slots ? shares[at] : Real(1)) * answers[at * values + j];
    for (int part = 0; part < parts; ++part)
      sum += partial[((long long)at * parts + part) * values + j];
    y[at * values + j] = sum;
  }
  if (!slots || !closes[at / heads]) return;
  // Full, the newest takes the place of the oldest.
  int slot = slot_of(books, books.count < slots ? books.count : 0, slots), size = keys * values;
  long long place = (long long)at * slots + slot;
  for (int i = threadIdx.x; i < size; i += THREADS)
    checkpoints[place * size + i] = online[(long long)at * size + i];
  if (MC_WEIGHTS) return;
  Real share = MC_SUMS ? Real(1) : Real(1) / Real(books.length + 1);
  for (int i = threadIdx.x; i < keys; i += THREADS)
    contexts[place * keys + i] = share * key_sums[at * keys + i];
}

// The books after the token; a thread does one row.
extern "C" __global__ void __launch_bounds__(THREADS)
    decode_advance(Books* all_books, int* closes, int rows, int slots) {
  int row = blockIdx.x * THREADS + threadIdx.x;
  if (row >= rows) return;
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
