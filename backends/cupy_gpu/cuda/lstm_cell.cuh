// LSTM: what one channel does at a token, and its gradient.
//
//   c = sigmoid(f) c + sigmoid(i) tanh(g)      h = sigmoid(o) tanh(c)
#pragma once
#include "vector_gates.cuh"

struct Cell {
  static constexpr int GATES = 4, VECTORS = 2, KEPT = 5;  // kept: the gates, c before
  static constexpr bool RESETS = false;  // nothing but h U passes the gradient of h on

  // `x` and `product` = h U per gate; the state h, c moves on over the token.
  static __device__ __forceinline__ void token(const Real (&x)[GATES], const Real (&product)[GATES],
                                               Real, Real (&state)[VECTORS], Real (&kept)[KEPT]) {
    kept[0] = sigmoid(x[0] + product[0]);
    kept[1] = sigmoid(x[1] + product[1]);
    kept[2] = tanh(x[2] + product[2]);
    kept[3] = sigmoid(x[3] + product[3]);
    kept[4] = state[1];
    state[1] = kept[1] * state[1] + kept[0] * kept[2];
    state[0] = kept[3] * tanh(state[1]);
  }

  // The gradient of the state moves to before the token, but for what h U passes on.
  static __device__ __forceinline__ void back(const Real (&kept)[KEPT], Real,
                                              Real (&d_state)[VECTORS], Real (&d_x)[GATES],
                                              Real (&d_product)[GATES]) {
    Real i = kept[0], f = kept[1], g = kept[2], o = kept[3], c = kept[4];
    Real shown = tanh(f * c + i * g), d_h = d_state[0];
    Real d_c = d_state[1] + d_h * o * (Real(1) - shown * shown);
    d_x[0] = through_sigmoid(d_c * g, i);
    d_x[1] = through_sigmoid(d_c * c, f);
    d_x[2] = through_tanh(d_c * i, g);
    d_x[3] = through_sigmoid(d_h * shown, o);
    for (int gate = 0; gate < GATES; ++gate) d_product[gate] = d_x[gate];
    d_state[0] = Real(0);
    d_state[1] = d_c * f;
  }
};
