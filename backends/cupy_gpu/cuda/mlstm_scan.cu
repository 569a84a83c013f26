// A matrix LSTM around the scan of a decayed memory: its gates, the keys and values that are written,
// and answers divided by what the keys add up to.
//
//     C_t = e^forget_t C_{t-1} + key_t v_t^T      n_t = e^forget_t n_{t-1} + key_t      key_t = write_t k_t
//     y_t = C_t^T q_t / (max(|n_t . q_t|, e^-m_t) + eps)
//
// n is one more column of C, whose values are ones. All but the gates: a warp for each token and head.
#include "mlstm_cached.cuh"
#include "mlstm_gates.cuh"

__device__ __forceinline__ int warp_of_grid() {
  return int(blockIdx.x) * (THREADS / 32) + int(threadIdx.x) / 32;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
mlstm_maxima(const Real* igate, const Real* fgate, const Real* carry, Real* forget, Real* write,
             Real* largest, Real* ends, const int* bounds, const int* restart, const int* segment,
             SIZES) {
  Sizes sizes = {tokens, heads, keys, values, segments};
  Cuts cuts = {bounds, restart, segment};
  Run run;
  int task = warp_of_grid();
  if (task >= count || !find_run(task, cuts, sizes, run)) return;
  find_maxima({igate, fgate, carry, forget, write, largest, ends}, run, cuts, sizes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
mlstm_maxima_backward(const Real* igate, const Real* fgate, const Real* carry, Real* largest,
                      const Real* d_forget, const Real* d_write, const Real* d_largest,
                      const Real* d_ends, Real* d_igate, Real* d_fgate, Real* d_carry,
                      const int* bounds, const int* restart, const int* segment, SIZES) {
  Sizes sizes = {tokens, heads, keys, values, segments};
  Cuts cuts = {bounds, restart, segment};
  Run run;
  int task = warp_of_grid();
  if (task >= count || !find_run(task, cuts, sizes, run)) return;
  maxima_backward({igate, fgate, carry, nullptr, nullptr, largest, nullptr},
                  {d_forget, d_write, d_largest, d_ends, d_igate, d_fgate, d_carry}, run, cuts,
                  sizes);
}

// key (B, T, H, K), and values with a column of ones (B, T, H, V + 1).
extern "C" __global__ void __launch_bounds__(THREADS, 1)
mlstm_written(const Token* k, const Token* v, const Real* write, Token* key, Token* value, int keys,
              int values, int count) {
  long long at = warp_of_grid();
  if (at >= count) return;
  for (int i = threadIdx.x & 31; i < keys; i += 32)
    key[at * keys + i] = Token(write[at] * Real(k[at * keys + i]));
  for (int i = threadIdx.x & 31; i <= values; i += 32)
    value[at * (values + 1) + i] = i < values ? v[at * values + i] : Token(Real(1));
}

// Gradients of k, v, and of the logarithm of write.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
mlstm_written_backward(const Token* k, const Real* write, const Token* d_key, const Token* d_value,
                       Token* dk, Token* dv, Real* d_write, int keys, int values, int count) {
  long long at = warp_of_grid();
  if (at >= count) return;
  Real sum = 0;
  for (int i = threadIdx.x & 31; i < keys; i += 32) {
    Real d = write[at] * Real(d_key[at * keys + i]);
    sum += Real(k[at * keys + i]) * d;
    dk[at * keys + i] = Token(d);
  }
  for (int i = threadIdx.x & 31; i < values; i += 32)
    dv[at * values + i] = d_value[at * (values + 1) + i];
  sum = warp_sum(sum);
  if ((threadIdx.x & 31) == 0) d_write[at] = sum;
}

// Numerators of an answer with their denominator behind them: those of the online memory, or
// weight * online + seen, if the online memory is mixed with others.
struct Answers {
  const Token *online, *seen;
  const Real* weight;
  int values;
  __device__ __forceinline__ Real get(long long at, int i) const {
    Real x = online[at * (values + 1) + i];
    return seen ? weight[at] * x + Real(seen[at * (values + 1) + i]) : weight ? weight[at] * x : x;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1)
mlstm_divide(const Token* online, const Token* seen, const Real* weight, const Real* largest,
             Token* y, int values, int count) {
  long long at = warp_of_grid();
  if (at >= count) return;
  Answers answers = {online, seen, weight, values};
  Real divisor = max(abs(answers.get(at, values)), least_divisor(largest[at])) + EPS;
  for (int i = threadIdx.x & 31; i < values; i += 32)
    y[at * values + i] = Token(answers.get(at, i) / divisor);
}

// Gradients of online, of seen and weight where they are there, and of m.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
mlstm_divide_backward(const Token* online, const Token* seen, const Real* weight,
                      const Real* largest, const Token* dy, Token* d_online, Token* d_seen,
                      Real* d_weight, Real* d_largest, int values, int count) {
  long long at = warp_of_grid();
  if (at >= count) return;
  int lane = threadIdx.x & 31;
  Answers answers = {online, seen, weight, values};
  Real last = answers.get(at, values), floor = least_divisor(largest[at]);
  Real divisor = max(abs(last), floor) + EPS, factor = weight ? weight[at] : Real(1);
  Real d_divisor = 0, of_weight = 0;
  for (int i = lane; i < values; i += 32) {
    Real d = Real(dy[at * values + i]) / divisor;
    d_divisor -= d * (answers.get(at, i) / divisor);
    of_weight += d * Real(online[at * (values + 1) + i]);
    d_online[at * (values + 1) + i] = Token(factor * d);
    if (d_seen) d_seen[at * (values + 1) + i] = Token(d);
  }
  d_divisor = warp_sum(d_divisor);
  of_weight = warp_sum(of_weight);
  if (lane) return;
  bool floored = abs(last) <= floor;
  Real d = floored ? Real(0) : last > 0 ? d_divisor : -d_divisor;
  d_online[at * (values + 1) + values] = Token(factor * d);
  if (d_seen) d_seen[at * (values + 1) + values] = Token(d);
  if (d_weight) d_weight[at] = of_weight + d * Real(online[at * (values + 1) + values]);
  d_largest[at] = floored && largest[at] > -STEEPEST ? -floor * d_divisor : Real(0);
}
