// GRU: what one channel does at a token, and its gradient.
//
//   n = tanh(x_n + r (h U_n + bias))      h = (1 - z) n + z h
#pragma once
#include "vector_gates.cuh"

struct Cell {
  static constexpr int GATES = 3, VECTORS = 1, KEPT = 4;  // kept: r, z, n, and what r multiplies
  static constexpr bool RESETS = true;  // the gradients of x_n and of h U_n differ

  // `x` and `product` = h U per gate; the state h moves on over the token.
  static __device__ __forceinline__ void token(const Real (&x)[GATES], const Real (&product)[GATES],
                                               Real bias, Real (&state)[VECTORS],
                                               Real (&kept)[KEPT]) {
    kept[0] = sigmoid(x[0] + product[0]);
    kept[1] = sigmoid(x[1] + product[1]);
    kept[3] = product[2] + bias;
    kept[2] = tanh(x[2] + kept[0] * kept[3]);
    state[0] = kept[2] + kept[1] * (state[0] - kept[2]);
  }

  // The gradient of h moves to before the token, but for what h U passes on; `h` is that before.
  static __device__ __forceinline__ void back(const Real (&kept)[KEPT], Real h,
                                              Real (&d_state)[VECTORS], Real (&d_x)[GATES],
                                              Real (&d_product)[GATES]) {
    Real r = kept[0], z = kept[1], n = kept[2], inner = kept[3], d_h = d_state[0];
    d_x[2] = through_tanh(d_h * (Real(1) - z), n);
    d_x[1] = through_sigmoid(d_h * (h - n), z);
    d_x[0] = through_sigmoid(d_x[2] * inner, r);
    d_product[0] = d_x[0];
    d_product[1] = d_x[1];
    d_product[2] = d_x[2] * r;
    d_state[0] = d_h * z;
  }
};
