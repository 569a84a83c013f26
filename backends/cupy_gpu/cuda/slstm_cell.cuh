// sLSTM: what one channel does at a token, and its gradient.
//
//   m = max(log sigmoid(f) + m, i)      i' = exp(i - m)      f' = exp(log sigmoid(f) + m_before - m)
//   c = f' c + i' tanh(z)      n = f' n + i'      h = sigmoid(o) c / n
// n = 0 tells that a token is the memory's first: m = i and f' = 0 then.
#pragma once
#include "vector_gates.cuh"

struct Cell {
  // kept: i', f', tanh(z), sigmoid(o); sigmoid(-f), the slope of log sigmoid(f); c and n before
  static constexpr int GATES = 4, VECTORS = 4, KEPT = 7;
  static constexpr bool RESETS = false;  // nothing but h U passes the gradient of h on

  // `x` and `product` = h U per gate; the state h, c, n, m moves on over the token.
  static __device__ __forceinline__ void token(const Real (&x)[GATES], const Real (&product)[GATES],
                                               Real, Real (&state)[VECTORS], Real (&kept)[KEPT]) {
    Real write = x[0] + product[0], forget = x[1] + product[1];
    Real keep = log_sigmoid(forget) + state[3];
    bool first = state[2] == Real(0);
    state[3] = first ? write : max(write, keep);
    kept[0] = exp(write - state[3]);
    kept[1] = first ? Real(0) : exp(keep - state[3]);
    kept[2] = tanh(x[2] + product[2]);
    kept[3] = sigmoid(x[3] + product[3]);
    kept[4] = sigmoid(-forget);
    kept[5] = state[1];
    kept[6] = state[2];
    state[1] = kept[1] * state[1] + kept[0] * kept[2];
    state[2] = kept[1] * state[2] + kept[0];
    state[0] = kept[3] * state[1] / state[2];
  }

  // The gradient of the state moves to before the token, but for what h U passes on.
  static __device__ __forceinline__ void back(const Real (&kept)[KEPT], Real,
                                              Real (&d_state)[VECTORS], Real (&d_x)[GATES],
                                              Real (&d_product)[GATES]) {
    Real i = kept[0], f = kept[1], z = kept[2], o = kept[3], c = kept[5], n = kept[6];
    Real after = f * n + i, answer = (f * c + i * z) / after, d_h = d_state[0];
    Real d_c = d_state[1] + d_h * o / after, d_n = d_state[2] - d_h * o * answer / after;
    Real d_write = i * (d_c * z + d_n), d_keep = f * (d_c * c + d_n * n);
    Real d_top = d_state[3] - d_write - d_keep;
    bool led = i == Real(1);  // the exponent of i was the maximum
    d_write += led ? d_top : Real(0);
    d_keep += led ? Real(0) : d_top;
    d_x[0] = d_write;
    d_x[1] = d_keep * kept[4];
    d_x[2] = through_tanh(d_c * i, z);
    d_x[3] = through_sigmoid(d_h * answer, o);
    for (int gate = 0; gate < GATES; ++gate) d_product[gate] = d_x[gate];
    d_state[0] = Real(0);
    d_state[1] = d_c * f;
    d_state[2] = d_n * f;
    d_state[3] = d_keep;
  }
};
