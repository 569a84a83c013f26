// The error r that a token's inner loss leaves at the perceptron's answer M(k), and its gradient.
//
//   DOT     r = -v                  (dla)        SQUARE  r = e,  e = M(k) - v    (titans, memora)
//   HUBER   r = e, scaled down to length delta if it is longer (yaad)
//   CUBE    r = 3 e |e|             (moneta)
//
// A whole warp works on one token; its vectors lie in shared memory.
#pragma once
#include "reduce.cuh"

constexpr int DOT = 0, SQUARE = 1, HUBER = 2, CUBE = 3;

// error = k + said - v and force = r, both of `keys` numbers; delta is of HUBER alone. Of DOT there is
// no error. `error` may be where v is, `force` where `said` is.
__device__ __forceinline__ void find_force(int loss, Real delta, int keys, const Real* k,
                                           const Real* v, const Real* said, Real* error,
                                           Real* force) {
  int lane = threadIdx.x & 31;
  Real square = Real(0), scale = Real(1);
  for (int i = lane; i < keys; i += 32) {
    if (loss == DOT) {
      force[i] = -v[i];
    } else {
      error[i] = k[i] + said[i] - v[i];
      square += error[i] * error[i];
    }
  }
  if (loss == DOT) return;
  if (loss == HUBER) {
    Real length = sqrt(warp_sum(square));
    if (length > delta) scale = delta / length;
  }
  for (int i = lane; i < keys; i += 32) {
    Real e = error[i];
    force[i] = loss == CUBE ? Real(3) * e * abs(e) : scale * e;
  }
}

// d goes from the gradient of r to that of M(k); sets dv; returns the gradient of delta.
//
// HUBER beyond delta, with n = e / |e|: de = delta / |e| (dr - n <n, dr>), ddelta = <n, dr>.
__device__ __forceinline__ Real error_backward(int loss, Real delta, int keys, const Real* error,
                                               Real* d, Real* dv) {
  int lane = threadIdx.x & 31;
  Real square = Real(0), along = Real(0), length = Real(1);
  bool outside = false;
  if (loss == HUBER) {
    for (int i = lane; i < keys; i += 32) {
      square += error[i] * error[i];
      along += error[i] * d[i];
    }
    length = sqrt(warp_sum(square));
    along = warp_sum(along);
    outside = length > delta;
    along = outside ? along / length : Real(0);
  }
  for (int i = lane; i < keys; i += 32) {
    Real dr = d[i];
    if (outside) dr = delta / length * (dr - error[i] / length * along);
    if (loss == CUBE) dr *= Real(6) * abs(error[i]);
    dv[i] = -dr;
    d[i] = loss == DOT ? Real(0) : dr;
  }
  return loss == HUBER ? along : Real(0);
}
