// Exact GELU with its first two derivatives: y = x Phi(x), y' = Phi(x) + x N(x), y'' = N(x)(2 - x^2).
#pragma once
#include "base.cuh"

struct Gelu {
  Real value, slope, curvature;
};

__device__ __forceinline__ Gelu gelu(Real x) {
  Real below = Real(0.5) * (Real(1) + erf(x * Real(0.70710678118654752440)));
  Real near = min(max(x, Real(-40)), Real(40));  // beyond it N is 0, but its factors overflow
  Real density = exp(Real(-0.5) * near * near) * Real(0.39894228040143267794);
  return {x * below, below + near * density, density * (Real(2) - near * near)};
}

__device__ __forceinline__ Real gelu_value(Real x) {
  return x * (Real(0.5) * (Real(1) + erf(x * Real(0.70710678118654752440))));
}
