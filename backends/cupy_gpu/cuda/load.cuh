// Matrices between global memory and shared memory; what lies outside is zero and is not stored.
#pragma once
#include "base.cuh"

// A matrix in global memory whose rows lie `stride` apart: `rows` x `columns` of it are real.
template <class T>
struct Matrix {
  T* at;
  long long stride;
  int rows, columns;
  __device__ __forceinline__ Real get(int i, int j) const {
    return i < rows && j < columns ? Real(at[i * stride + j]) : Real(0);
  }
  // The same without a branch, so that loads wait for one another less; something must be real.
  __device__ __forceinline__ Real near(int i, int j) const {
    Real value = Real(at[min(i, rows - 1) * stride + min(j, columns - 1)]);
    return i < rows && j < columns ? value : Real(0);
  }
  __device__ __forceinline__ void put(int i, int j, Real value) const {
    if (i < rows && j < columns) at[i * stride + j] = T(value);
  }
};

// to[i * apart + j] = from(i, j) for i < M, j < N, by all threads of the block. No barrier. A thread
// has several loads on their way at the same time.
template <int M, int N, class T>
__device__ __forceinline__ void load(Real* to, int apart, Matrix<T> from) {
  if (from.rows < 1 || from.columns < 1) {
    for (int at = threadIdx.x; at < M * N; at += blockDim.x) to[at / N * apart + at % N] = Real(0);
    return;
  }
#pragma unroll 4
  for (int at = threadIdx.x; at < M * N; at += blockDim.x)
    to[at / N * apart + at % N] = from.near(at / N, at % N);
}

// to(i, j) = from[i * apart + j] for what is real, by all threads of the block. No barrier.
template <int M, int N, class T>
__device__ __forceinline__ void store(Matrix<T> to, const Real* from, int apart) {
  for (int at = threadIdx.x; at < M * N; at += blockDim.x) {
    int i = at / N, j = at % N;
    if (i < to.rows && j < to.columns) to.at[i * to.stride + j] = T(from[i * apart + j]);
  }
}
