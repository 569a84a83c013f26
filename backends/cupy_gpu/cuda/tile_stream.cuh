// The tiles of keys that chunk after chunk of a chain needs, copied ahead of their use.
//
// A chunk needs all tiles of one array over keys, then all tiles of another; and its log-decays.
#pragma once
#include "chunk_decay.cuh"
#include "chunk_rows.cuh"

constexpr int RING = 4;

// Chunks first, first + step, ...; `count` of them.
struct ChunkOrder {
  const int* chunks;
  int first, step, count, head;
  __device__ __forceinline__ Chunk at(int n) const {
    return chunk_of(chunks, first + step * n, head);
  }
};

template <class A, class B>
struct TileStream {
  Real *ring, *numbers;  // RING (ROWS, KEYS), RING (ROWS)
  const A* first;
  const B* second;
  const Real* log_decay;
  ChunkOrder order;
  Sizes sizes;
  int tiles, asked, used;

  __device__ __forceinline__ void ask_next() {
    int n = asked / (2 * tiles), part = asked % (2 * tiles);
    if (n < order.count) {
      Chunk chunk = order.at(n);
      Real* to = ring + asked % RING * KEY_BLOCK;
      if (part < tiles)
        ask_keys(to, chunk.of(first, sizes, sizes.keys, part * KEYS));
      else
        ask_keys(to, chunk.of(second, sizes, sizes.keys, (part - tiles) * KEYS));
      if (part == 0) ask_numbers(numbers + n % RING * ROWS, chunk);
    }
    close_group();
    ++asked;
  }

  __device__ __forceinline__ void ask_numbers(Real* to, const Chunk& chunk) {
    for (int t = threadIdx.x; log_decay && t < ROWS; t += THREADS) {
      bool real = t < chunk.count;
      const Real* from = log_decay + chunk.token(sizes) + (long long)(real ? t : 0) * sizes.heads;
      ask_bytes<sizeof(Real)>(to + t, from, real);
    }
  }

  __device__ __forceinline__ void start() {
    for (int n = 0; n < RING - 1; ++n) ask_next();
  }

  // The next tile (ROWS, KEYS), until the next call. Begins with a barrier.
  __device__ __forceinline__ const Real* next() {
    arrived<RING - 2>();
    ask_next();
    return ring + used++ % RING * KEY_BLOCK;
  }

  // The decays of chunk n, after its first tile; see `set_decay`.
  __device__ __forceinline__ void decays(const Decay& to, int n) const {
    const Real* from = numbers + n % RING * ROWS;
    set_decay(to, [&](int t) { return log_decay ? from[t] : Real(0); });
  }
};

template <class A, class B>
__device__ __forceinline__ TileStream<A, B> tile_stream(Arena& arena, const A* first,
                                                        const B* second, const Real* log_decay,
                                                        const ChunkOrder& order,
                                                        const Sizes& sizes) {
  Real* ring = arena.take<Real>(RING * KEY_BLOCK);
  Real* numbers = arena.take<Real>(RING * ROWS);
  int tiles = (sizes.keys + KEYS - 1) / KEYS;
  return {ring, numbers, first, second, log_decay, order, sizes, tiles, 0, 0};
}
