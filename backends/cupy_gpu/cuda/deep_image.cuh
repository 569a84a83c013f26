// Images W = f(A) of mirror descent, matrix by matrix, and their gradients.
//
//   QUARTIC (moneta)  W = u^3 L / n,  u = A / L, L = max |A|, n = sqrt(sum u^4)
//   SOFTMAX (memora)  W = softmax(A) along the inputs: columns of w_in, rows of w_out transposed
#pragma once
#include "deep_vectors.cuh"

constexpr int SAME = 0, QUARTIC = 1, SOFTMAX = 2;

// L of both matrices and n of both; all threads get them.
struct Norms {
  Real largest[2], norm[2];
};

__device__ __forceinline__ Norms norms(const Real* source, int half, Real* scratch) {
  Norms found;
  for (int m = 0; m < 2; ++m) {
    Real top = Real(0), fourth = Real(0);
    for (int at = threadIdx.x; at < half; at += blockDim.x)
      top = max(top, Real(abs(source[m * half + at])));
    top = block_max(top, scratch);
    for (int at = threadIdx.x; at < half; at += blockDim.x) {
      Real u = top > Real(0) ? source[m * half + at] / top : Real(0);
      fourth += u * u * u * u;
    }
    fourth = block_sum(fourth, scratch);
    found.largest[m] = top > Real(0) ? top : Real(1);
    found.norm[m] = top > Real(0) ? sqrt(fourth) : Real(1);
  }
  return found;
}

// The softmax of column e (of w_in) or, over its width, of row i, by one thread or by one warp.
__device__ __forceinline__ void softmax_column(const Real* source, Real* image, int rows,
                                               int width, int e) {
  Real top = source[e], total = Real(0);
  for (int i = 1; i < rows; ++i) top = max(top, source[i * width + e]);
  for (int i = 0; i < rows; ++i) {
    Real weight = exp(source[i * width + e] - top);
    image[i * width + e] = weight;
    total += weight;
  }
  for (int i = 0; i < rows; ++i) image[i * width + e] /= total;
}

__device__ __forceinline__ void softmax_row(const Real* source, Real* image, int width) {
  int lane = threadIdx.x & 31;
  Real top = source[0], total = Real(0);
  for (int e = lane; e < width; e += 32) top = max(top, source[e]);
  top = warp_max(top);
  for (int e = lane; e < width; e += 32) {
    Real weight = exp(source[e] - top);
    image[e] = weight;
    total += weight;
  }
  total = warp_sum(total);
  for (int e = lane; e < width; e += 32) image[e] /= total;
}

// W from A. Begins and ends with a barrier.
__device__ __forceinline__ void make_image(int image, const Real* source, Real* weights, int keys,
                                           int width, Real* scratch) {
  int half = keys * width;
  __syncthreads();
  if (image == QUARTIC) {
    Norms n = norms(source, half, scratch);
    for (int at = threadIdx.x; at < 2 * half; at += blockDim.x) {
      int m = at >= half;
      Real u = source[at] / n.largest[m];
      weights[at] = u * u * u * (n.largest[m] / n.norm[m]);
    }
  } else {
    each_column(width, [&](int e) { softmax_column(source, weights, keys, width, e); });
    for (int i = threadIdx.x >> 5; i < keys; i += blockDim.x >> 5)
      softmax_row(source + half + i * width, weights + half + i * width, width);
  }
  __syncthreads();
}

// dA += (3 u^2 dW - 2 u^3 <dW, u^3> / n^2) / n.
__device__ __forceinline__ void quartic_backward(const Real* source, const Real* d_image,
                                                 Real* d_source, int half, Real* scratch) {
  Norms n = norms(source, half, scratch);
  Real along[2];
  for (int m = 0; m < 2; ++m) {
    Real total = Real(0);
    for (int at = m * half + threadIdx.x; at < (m + 1) * half; at += blockDim.x) {
      Real u = source[at] / n.largest[m];
      total += d_image[at] * u * u * u;
    }
    along[m] = block_sum(total, scratch) / (n.norm[m] * n.norm[m]);
  }
  for (int at = threadIdx.x; at < 2 * half; at += blockDim.x) {
    int m = at >= half;
    Real u = source[at] / n.largest[m];
    d_source[at] += u * u * (Real(3) * d_image[at] - Real(2) * u * along[m]) / n.norm[m];
  }
}

// dA += W (dW - <W, dW>).
__device__ __forceinline__ void softmax_backward(const Real* image, const Real* d_image,
                                                 Real* d_source, int keys, int width) {
  int lane = threadIdx.x & 31, half = keys * width;
  each_column(width, [&](int e) {
    Real mean = Real(0);
    for (int i = 0; i < keys; ++i) mean += image[i * width + e] * d_image[i * width + e];
    for (int i = 0; i < keys; ++i)
      d_source[i * width + e] += image[i * width + e] * (d_image[i * width + e] - mean);
  });
  for (int i = threadIdx.x >> 5; i < keys; i += blockDim.x >> 5) {
    int row = half + i * width;
    Real mean = Real(0);
    for (int e = lane; e < width; e += 32) mean += image[row + e] * d_image[row + e];
    mean = warp_sum(mean);
    for (int e = lane; e < width; e += 32)
      d_source[row + e] += image[row + e] * (d_image[row + e] - mean);
  }
}
