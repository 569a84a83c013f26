// Activations of the gates of vector memories, and gradients through them from their values.
#pragma once
#include "base.cuh"

__device__ __forceinline__ Real log_sigmoid(Real x) {
  return min(x, Real(0)) - log1p(exp(-abs(x)));
}

// Gradients with respect to x of y = sigmoid(x) and y = tanh(x), that of y being d.
__device__ __forceinline__ Real through_sigmoid(Real d, Real y) { return d * y * (Real(1) - y); }
__device__ __forceinline__ Real through_tanh(Real d, Real y) { return d * (Real(1) - y * y); }
