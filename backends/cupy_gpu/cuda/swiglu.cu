// What lies between the matrix products of SwiGLU: hidden = silu(gate) up, and its gradients.
#include "base.cuh"

extern "C" __global__ void __launch_bounds__(256)
    swiglu(const Token* gate, const Token* up, Token* hidden, int rows, int width) {
  long long count = (long long)rows * width, stride = (long long)gridDim.x * 256;
  for (long long at = blockIdx.x * 256LL + threadIdx.x; at < count; at += stride) {
    Real g = Real(gate[at]);
    hidden[at] = Token(g * sigmoid(g) * Real(up[at]));
  }
}

// Makes `hidden` again; d_gate = d_hidden up silu'(gate);  d_up = d_hidden silu(gate).
extern "C" __global__ void __launch_bounds__(256)
    swiglu_backward(const Token* gate, const Token* up, const Token* d_hidden, Token* hidden,
                    Token* d_gate, Token* d_up, int rows, int width) {
  long long count = (long long)rows * width, stride = (long long)gridDim.x * 256;
  for (long long at = blockIdx.x * 256LL + threadIdx.x; at < count; at += stride) {
    Real g = Real(gate[at]), u = Real(up[at]), d = Real(d_hidden[at]), s = sigmoid(g), a = g * s;
    hidden[at] = Token(a * u);
    d_gate[at] = Token(d * u * (s + a * (Real(1) - s)));
    d_up[at] = Token(d * a);
  }
}
