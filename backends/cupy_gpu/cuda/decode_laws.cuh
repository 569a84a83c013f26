// What a token does to a matrix memory: S <- diag(decay) S + left right^T + again other^T.
//
//   rule             left       right            again            other
//   adds             beta k     v
//   delta rules      beta k     v - (a S)^T k
//   rwkv7            k          v                -kk * strength   S^T kk
//   swla             beta k     v                beta_prev k'     v'        of the token before
//   mlstm            i' k       v, 1             decay = f', in units of the running maximum
#pragma once
#include "decode.cuh"
#include "vector_gates.cuh"

struct Written {  // one token's inputs, by entry
  const Real *q, *k, *v, *decay, *decays, *beta, *more, *removal, *strength;
};

struct Sides {  // (keys) each, shared by the block
  Real *query, *key, *decay, *left, *again;
};

struct Online {  // one head's memory; `width` numbers in a row
  Real* state;
  int keys, values, width;
  bool fresh;
  __device__ __forceinline__ Real before(int row, int column) const {
    return fresh || column >= width ? Real(0) : state[row * width + column];
  }
};

// Decay and strength of what a token writes, and the running maximum of exponential gates.
struct Strength {
  Real decay, beta, largest;
  __device__ __forceinline__ Strength(const Written& x, Plan plan, Place place,
                                      const Online& online)
      : decay(1), beta(x.beta ? x.beta[place.entry] : Real(1)), largest(0) {
    if (plan.law() == EXPONENTIAL) {
      Real kept = log_sigmoid(x.decay[place.entry]) + online.before(online.keys, 0), gate = beta;
      largest = max(kept, gate);
      decay = exp(kept - largest);
      beta = exp(gate - largest) / sqrt(Real(online.keys));
    } else if (x.decay) {
      decay = exp(x.decay[plan.by_head() ? place.head : place.entry]);
    }
  }
};

// The left sides, keys and queries; ends with a barrier.
__device__ __forceinline__ void fill_sides(const Sides& sides, const Written& x, Plan plan,
                                           Place place, const Online& online, Strength strength) {
  long long first = (long long)place.entry * online.keys;
  for (int i = threadIdx.x; i < online.keys; i += THREADS) {
    Real key = x.k[first + i], query = x.q[first + i];
    sides.query[i] = plan.mapped() ? positive(query) : query;
    sides.key[i] = key = plan.mapped() ? positive(key) : key;
    sides.left[i] = strength.beta * key;
    sides.decay[i] = x.decays ? exp(x.decays[first + i]) : strength.decay;
    if (plan.law() == REMOVES) sides.again[i] = x.removal[first + i];
    if (plan.law() == REPEATS)
      sides.again[i] = x.more[place.entry] * online.before(i, online.values);
  }
  __syncthreads();
}

// The right sides for this thread's column; all threads must call it.
struct Right {
  Real right, other;
  __device__ __forceinline__ Right(const Sides& sides, const Written& x, Plan plan, Place place,
                                   const Online& online, Real* scratch)
      : right(0), other(0) {
    int lane = threadIdx.x % LANES, keys = online.keys;
    if (lane < online.values) right = x.v[(long long)place.entry * online.values + lane];
    if (plan.division() != UNDIVIDED && lane == online.values) right = Real(1);
    auto recalled = [&](const Real* asked, bool decayed) {
      return column_sum(keys, scratch, [&](int i) {
        return asked[i] * (decayed ? sides.decay[i] : Real(1)) * online.before(i, lane);
      });
    };
    if (plan.law() == CORRECTS) right -= recalled(sides.key, true);
    if (plan.law() == REPEATS && lane < online.values) other = online.before(keys, lane);
    if (plan.law() != REMOVES) return;
    other = recalled(sides.again, false);
    long long first = (long long)place.entry * keys;
    for (int i = threadIdx.x; i < keys; i += THREADS) sides.again[i] *= -x.strength[first + i];
    __syncthreads();
  }
};

// The memory after the token; returns what this thread's column of it answers. Rows are fetched
// AHEAD at a time, for what is stored between two fetches would make the second wait.
constexpr int AHEAD = 8;
__device__ __forceinline__ Real write_memory(const Sides& sides, Right column, Plan plan,
                                             const Online& online, Real* scratch) {
  int lane = threadIdx.x % LANES, part = threadIdx.x / LANES;
  bool twice = plan.law() == REMOVES || plan.law() == REPEATS;
  bool key_column = plan.law() == REPEATS && lane == online.values;
  Real own = Real(0), held[AHEAD];
  for (int first = part; first < online.keys && part < PARTS; first += AHEAD * PARTS) {
#pragma unroll
    for (int e = 0; e < AHEAD; ++e) {
      int i = first + e * PARTS;
      held[e] = i < online.keys ? online.before(i, lane) : Real(0);
    }
#pragma unroll
    for (int e = 0; e < AHEAD; ++e) {
      int i = first + e * PARTS;
      if (i >= online.keys) break;
      Real now = sides.decay[i] * held[e] + sides.left[i] * column.right;
      if (twice) now += sides.again[i] * column.other;
      if (lane < online.width)
        online.state[i * online.width + lane] = key_column ? sides.key[i] : now;
      own += now * sides.query[i];
    }
  }
  return column_total(own, scratch);
}

// The row behind the matrix: the running maximum, or the values of the token.
__device__ __forceinline__ void write_last_row(const Written& x, Plan plan, Place place,
                                               const Online& online, Real largest) {
  Real* last = online.state + online.keys * online.width;
  if (plan.law() == EXPONENTIAL && threadIdx.x == 0) last[0] = largest;
  if (plan.law() != REPEATS) return;
  for (int j = threadIdx.x; j < online.values; j += THREADS)
    last[j] = x.v[(long long)place.entry * online.values + j];
}
