// Sliding-window linear attention as a decayed memory whose inputs are shifted by one token.
//
//     P_t = S_t - beta_t k_t v_t^T = a_t P_{t-1} + k_{t-1} (strength_t v_{t-1})^T,
//     strength_t = a_t beta_{t-1} + beta_prev_t          y_t = P_t^T q_t + beta_t (k_t . q_t) v_t
//
// A warp works on one token and head. Where a memory starts there is no token before; one that came
// in (K + 1, V + 1) has its last k as last column, its last v as last row, and wrote it already.
#include "base.cuh"
#include "reduce.cuh"

constexpr int THREADS = 128;

struct Tokens {
  int rows, tokens, heads, keys, values, segments;
  const int *bounds, *restart, *segment;  // (B, S + 1), (B, S), (B, T)

  __device__ __forceinline__ bool fresh(int b, int t) const {
    int s = segment[b * tokens + t];
    return restart[b * segments + s] && bounds[b * (segments + 1) + s] == t;
  }
};

#define TOKENS                                                                                  \
  int rows, int tokens, int heads, int keys, int values, int segments, const int *bounds,       \
      const int *restart, const int *segment
#define GIVEN_TOKENS {rows, tokens, heads, keys, values, segments, bounds, restart, segment}

// A warp's token and head; `at` counts them.
struct Place {
  int b, t, h;
  long long at;
  bool real;
};

__device__ __forceinline__ Place warp_place(const Tokens& x) {
  long long at = (long long)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  int h = int(at % x.heads), t = int(at / x.heads % x.tokens);
  return {int(at / x.heads / x.tokens), t, h, at, at < (long long)x.rows * x.tokens * x.heads};
}

// The token before one: its keys, values and what it has yet to write; zeros if there is none.
struct Before {
  const Token *k, *v;   // of the token before, if it is here
  const Real* carried;  // the memory that came in, if the token before is in it
  int keys, values;
  Real beta;
  __device__ __forceinline__ Real key(int i) const {
    if (k) return k[i];
    return carried ? carried[(long long)i * (values + 1) + values] : Real(0);
  }
  __device__ __forceinline__ Real value(int j) const {
    if (v) return v[j];
    return carried ? carried[(long long)keys * (values + 1) + j] : Real(0);
  }
};

__device__ __forceinline__ Before before(const Tokens& x, const Place& place, const Token* k,
                                         const Token* v, const Real* beta, const Real* carry) {
  Before none{nullptr, nullptr, nullptr, x.keys, x.values, Real(0)};
  if (x.fresh(place.b, place.t)) return none;
  long long at = place.at - x.heads;
  if (place.t > 0) return {k + at * x.keys, v + at * x.values, nullptr, x.keys, x.values, beta[at]};
  if (carry)
    none.carried = carry + ((long long)place.b * x.heads + place.h) * (x.keys + 1) * (x.values + 1);
  return none;
}

// The scan's k and v: those of the token before, v times the strength.
extern "C" __global__ void __launch_bounds__(THREADS)
swla_shift(const Token* k, const Token* v, const Real* log_decay, const Real* beta,
           const Real* beta_prev, const Real* carry, Token* shifted_k, Token* shifted_v, TOKENS) {
  Tokens x GIVEN_TOKENS;
  Place place = warp_place(x);
  if (!place.real) return;
  Before last = before(x, place, k, v, beta, carry);
  Real strength = exp(log_decay[place.at]) * last.beta + beta_prev[place.at];
  int lane = threadIdx.x & 31;
  for (int i = lane; i < keys; i += 32) shifted_k[place.at * keys + i] = Token(last.key(i));
  for (int j = lane; j < values; j += 32)
    shifted_v[place.at * values + j] = Token(strength * last.value(j));
}

// y += beta (k . q) v.
extern "C" __global__ void __launch_bounds__(THREADS)
swla_answers(const Token* q, const Token* k, const Token* v, const Real* beta, Token* y, TOKENS) {
  Tokens x GIVEN_TOKENS;
  Place place = warp_place(x);
  if (!place.real) return;
  Real match = Real(0);
  for (int i = threadIdx.x & 31; i < keys; i += 32)
    match += Real(q[place.at * keys + i]) * Real(k[place.at * keys + i]);
  match = beta[place.at] * warp_sum(match);
  for (int j = threadIdx.x & 31; j < values; j += 32) {
    long long at = place.at * values + j;
    y[at] = Token(Real(y[at]) + match * Real(v[at]));
  }
}

// Checkpoints (B, S, H, K + 1, V + 1) from those of P (B, S, H, K, V).
extern "C" __global__ void __launch_bounds__(THREADS)
swla_ends(const Token* k, const Token* v, const Real* beta, const Real* scanned, Real* ends,
          TOKENS) {
  int b = blockIdx.x / segments, s = blockIdx.x % segments, h = blockIdx.y;
  int first = bounds[b * (segments + 1) + s], end = bounds[b * (segments + 1) + s + 1];
  long long token = ((long long)b * tokens + end - 1) * heads + h;
  long long state = (long long)blockIdx.x * heads + h;
  int count = (keys + 1) * (values + 1);
  for (int entry = threadIdx.x; entry < count; entry += THREADS) {
    int i = entry / (values + 1), j = entry % (values + 1);
    Real number = Real(0);
    if (first < end && (i < keys || j < values)) {
      Real key = i < keys ? Real(k[token * keys + i]) : Real(1);
      Real value = j < values ? Real(v[token * values + j]) : Real(1);
      number = key * value;
      if (i < keys && j < values)
        number = scanned[state * keys * values + i * values + j] + beta[token] * number;
    }
    ends[state * count + entry] = number;
  }
}

// The gradient that enters at the end of a token's segment (K + 1, V + 1), or null.
__device__ __forceinline__ const Real* end_gradient(const Tokens& x, const Place& place,
                                                    const Real* d_ends) {
  int s = x.segment[place.b * x.tokens + place.t];
  if (x.bounds[place.b * (x.segments + 1) + s + 1] != place.t + 1) return nullptr;
  long long state = ((long long)place.b * x.segments + s) * x.heads + place.h;
  return d_ends + state * (x.keys + 1) * (x.values + 1);
}

// <dv of the scan, v before>, which is the gradient of a token's strength.
__device__ __forceinline__ Real d_strength(const Before& last, const Token* d_shifted_v,
                                           int values) {
  Real sum = Real(0);
  for (int j = threadIdx.x & 31; j < values; j += 32) sum += Real(d_shifted_v[j]) * last.value(j);
  return warp_sum(sum);
}

// d_beta, d_log_decay (which holds the scan's) and d_beta_prev.
extern "C" __global__ void __launch_bounds__(THREADS)
swla_scalar_gradients(const Token* q, const Token* k, const Token* v, const Token* dy,
                      const Real* log_decay, const Real* beta, const Real* carry,
                      const Token* d_shifted_v, const Real* d_ends, Real* d_log_decay, Real* d_beta,
                      Real* d_beta_prev, TOKENS) {
  Tokens x GIVEN_TOKENS;
  Place place = warp_place(x);
  if (!place.real) return;
  long long at = place.at;
  int lane = threadIdx.x & 31;
  Before last = before(x, place, k, v, beta, carry);
  Real strength = d_strength(last, d_shifted_v + at * values, values), later = Real(0);
  if (place.t + 1 < tokens && !x.fresh(place.b, place.t + 1)) {
    Before own{k + at * keys, v + at * values, nullptr, keys, values, beta[at]};
    long long next = at + heads;
    later = exp(log_decay[next]) * d_strength(own, d_shifted_v + next * values, values);
  }
  Real match = Real(0), answer = Real(0), written = Real(0);
  for (int i = lane; i < keys; i += 32) match += Real(q[at * keys + i]) * Real(k[at * keys + i]);
  for (int j = lane; j < values; j += 32)
    answer += Real(dy[at * values + j]) * Real(v[at * values + j]);
  const Real* d_end = end_gradient(x, place, d_ends);
  for (int e = lane; d_end && e < keys * values; e += 32)
    written += Real(k[at * keys + e / values]) * Real(v[at * values + e % values]) *
               d_end[e / values * (values + 1) + e % values];
  match = warp_sum(match);
  answer = warp_sum(answer);
  written = warp_sum(written);
  if (lane) return;
  d_beta[at] = match * answer + later + written;
  d_beta_prev[at] = strength;
  d_log_decay[at] += strength * exp(log_decay[at]) * last.beta;
}

// dq (which holds the scan's), dk and dv; and of the last k and v of what came in, if anything did.
extern "C" __global__ void __launch_bounds__(THREADS)
swla_gradients(const Token* q, const Token* k, const Token* v, const Token* dy,
               const Real* log_decay, const Real* beta, const Real* beta_prev,
               const Token* d_shifted_k, const Token* d_shifted_v, const Real* d_ends, Token* dq,
               Token* dk, Token* dv, Real* d_carry, TOKENS) {
  Tokens x GIVEN_TOKENS;
  Place place = warp_place(x);
  if (!place.real) return;
  long long at = place.at;
  int lane = threadIdx.x & 31, apart = values + 1;
  Real match = Real(0), answer = Real(0);
  for (int i = lane; i < keys; i += 32) match += Real(q[at * keys + i]) * Real(k[at * keys + i]);
  for (int j = lane; j < values; j += 32)
    answer += Real(dy[at * values + j]) * Real(v[at * values + j]);
  Real own = beta[at], weight = own * warp_sum(answer), seen = own * warp_sum(match);
  bool followed = place.t + 1 < tokens && !x.fresh(place.b, place.t + 1);
  long long next = at + heads;
  Real strength = followed ? exp(log_decay[next]) * own + beta_prev[next] : Real(0);
  const Real* d_end = end_gradient(x, place, d_ends);
  for (int i = lane; i < keys; i += 32) {
    long long here = at * keys + i;
    Real d_key = weight * Real(q[here]);
    if (followed) d_key += Real(d_shifted_k[next * keys + i]);
    if (d_end) {
      Real sum = Real(0);
      for (int j = 0; j < values; ++j) sum += d_end[i * apart + j] * Real(v[at * values + j]);
      d_key += d_end[i * apart + values] + own * sum;
    }
    dq[here] = Token(Real(dq[here]) + weight * Real(k[here]));
    dk[here] = Token(d_key);
  }
  for (int j = lane; j < values; j += 32) {
    long long here = at * values + j;
    Real d_value = seen * Real(dy[here]);
    if (followed) d_value += strength * Real(d_shifted_v[next * values + j]);
    if (d_end) {
      Real sum = Real(0);
      for (int i = 0; i < keys; ++i) sum += d_end[i * apart + j] * Real(k[at * keys + i]);
      d_value += d_end[keys * apart + j] + own * sum;
    }
    dv[here] = Token(d_value);
  }
  if (!d_carry || place.t > 0 || x.fresh(place.b, 0)) return;
  Real* to = d_carry + ((long long)place.b * heads + place.h) * (keys + 1) * apart;
  for (int i = lane; i < keys; i += 32) to[i * apart + values] = d_shifted_k[at * keys + i];
  for (int j = lane; j < values; j += 32)
    to[keys * apart + j] = beta_prev[at] * Real(d_shifted_v[at * values + j]);
}
