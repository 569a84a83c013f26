// A tensor core's product of a warp: every lane shows what it holds once, then all see all of it.
#pragma once
#include "block.h"

namespace emulation {

inline uint32_t held[1024][6];  // of each thread: four numbers of A, two of B

// A number as the tensor cores read it: they ignore the lower 13 bits.
inline float seen(unsigned lane, int entry) {
  uint32_t bits = held[lane][entry] & ~0x1fffu;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// D += A B in the layout of mma.m16n8k8.
inline void warp_product(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  unsigned lane = block.current & 31, warp = block.current & ~31u, g = lane >> 2, t = lane & 3;
  std::memcpy(held[block.current], a, sizeof a);
  std::memcpy(held[block.current] + 4, b, sizeof b);
  sync_warp(~0u);
  for (int row = 0; row < 2; ++row)
    for (int column = 0; column < 2; ++column)
      for (unsigned k = 0; k < 8; ++k)
        d[2 * row + column] += seen(warp + 4 * g + (k & 3), row + (k < 4 ? 0 : 2)) *
                               seen(warp + 4 * (2 * t + column) + (k & 3), k < 4 ? 4 : 5);
  sync_warp(~0u);
}

}  // namespace emulation
