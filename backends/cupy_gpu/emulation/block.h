// A thread block: its fibers take turns in an order drawn from a seed, and meet at barriers.
// What is reported: threads at different barriers, threads that never reach one.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "fiber.h"

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace emulation {

constexpr size_t STACK = (64 << 10) + 576;  // an odd number of lines: stacks share no cache sets

enum class Status : uint8_t { running, at_block_barrier, at_warp_barrier, done };

struct Block {
  dim3 grid, size, index;
  std::vector<dim3> thread;
  std::vector<Fiber> fiber;
  std::vector<char> stacks, shared;
  std::vector<Status> status;
  std::vector<int> line;
  std::vector<uint64_t> published;
  std::vector<unsigned> mask;
  Fiber scheduler;
  unsigned current = 0, threads = 0, alive = 0, in_warp = 0, in_block = 0, seed = 0;
  void (*kernel)(void**) = nullptr;
  void** arguments = nullptr;
  size_t taken = 0;
  std::string error;
};

inline Block block;

inline void wait() { switch_fiber(block.fiber[block.current], block.scheduler); }

inline void sync_block(int line) {
  block.status[block.current] = Status::at_block_barrier;
  block.line[block.current] = line;
  block.in_block++;
  wait();
}

inline void sync_warp(unsigned mask) {
  block.status[block.current] = Status::at_warp_barrier;
  block.mask[block.current] = mask;
  block.in_warp++;
  wait();
}

inline void run_thread() {
  block.kernel(block.arguments);
  block.status[block.current] = Status::done;
  block.alive--;
  wait();
  std::abort();
}

// Every lane of `mask` publishes a value; each then sees what lane `source` of its warp published.
template <class T>
inline T exchange(unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= 8, "values of at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  unsigned warp = block.current & ~31u;
  block.published[block.current] = bits;
  sync_warp(mask);
  T seen = value;
  if (source >= 0 && source < 32 && warp + source < block.threads)
    std::memcpy(&seen, &block.published[warp + source], sizeof seen);
  sync_warp(mask);
  return seen;
}

inline bool warp_is_complete(unsigned first, unsigned lanes, unsigned waiting) {
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if (!(waiting >> lane & 1)) continue;
    for (unsigned other = 0; other < lanes; ++other) {
      bool wanted = block.mask[first + lane] >> other & 1;
      if (wanted && !(waiting >> other & 1) && block.status[first + other] != Status::done)
        return false;
    }
  }
  return true;
}

inline bool release_warps() {
  bool released = false;
  for (unsigned first = 0; first < block.threads; first += 32) {
    unsigned lanes = std::min(32u, block.threads - first), waiting = 0;
    for (unsigned lane = 0; lane < lanes; ++lane)
      if (block.status[first + lane] == Status::at_warp_barrier) waiting |= 1u << lane;
    if (!waiting || !warp_is_complete(first, lanes, waiting)) continue;
    for (unsigned lane = 0; lane < lanes; ++lane)
      if (waiting >> lane & 1) {
        block.status[first + lane] = Status::running;
        block.in_warp--;
      }
    released = true;
  }
  return released;
}

inline bool release_block() {
  int line = -1;
  for (unsigned i = 0; i < block.threads; ++i) {
    if (block.status[i] != Status::at_block_barrier) continue;
    if (line < 0) line = block.line[i];
    if (block.line[i] != line) {
      block.error = "threads of one block wait at different __syncthreads(), lines " +
                    std::to_string(line) + " and " + std::to_string(block.line[i]);
      return false;
    }
  }
  for (unsigned i = 0; i < block.threads; ++i)
    if (block.status[i] == Status::at_block_barrier) block.status[i] = Status::running;
  block.in_block = 0;
  return true;
}

// One turn of all threads that can go on; the order is drawn anew each time if there is a seed.
inline bool take_turns() {
  unsigned first = 0, stride = 1;
  if (block.seed) {
    block.seed = block.seed * 1664525u + 1013904223u;
    if (!block.seed) block.seed = 1;
    first = (block.seed >> 8) % block.threads;
    stride = block.seed >> 4 & 1 ? 1 : block.threads - 1;
  }
  bool ran = false;
  for (unsigned k = 0, i = first; k < block.threads; ++k, i = (i + stride) % block.threads)
    if (block.status[i] == Status::running) {
      block.current = i;
      switch_fiber(block.scheduler, block.fiber[i]);
      ran = true;
    }
  return ran;
}

inline bool run_block() {
  block.alive = block.threads;
  block.in_warp = block.in_block = 0;
  block.taken = 0;
  std::fill(block.shared.begin(), block.shared.end(), char(0xFF));  // NaN until it is written
  for (unsigned i = 0; i < block.threads; ++i) {
    make_fiber(block.fiber[i], block.stacks.data() + size_t(i) * STACK, STACK, run_thread);
    block.status[i] = Status::running;
  }
  while (block.alive && block.error.empty()) {
    bool ran = take_turns();
    if (block.in_warp && release_warps()) continue;
    if (block.in_block && block.in_block == block.alive) {
      if (!release_block()) return false;
    } else if (!ran && block.alive) {
      block.error = "deadlock: some threads of a block never reach the barrier of the others";
    }
  }
  return block.error.empty();
}

inline void prepare(dim3 grid, dim3 size, size_t shared) {
  block.grid = grid;
  block.size = size;
  block.threads = size.x * size.y * size.z;
  block.shared.resize(shared);
  if (block.stacks.size() < block.threads * STACK) block.stacks.resize(block.threads * STACK);
  block.fiber.resize(block.threads);
  block.status.resize(block.threads);
  block.line.resize(block.threads);
  block.published.resize(block.threads + 32);
  block.mask.resize(block.threads);
  block.thread.resize(block.threads);
  for (unsigned i = 0; i < block.threads; ++i)
    block.thread[i] = dim3(i % size.x, i / size.x % size.y, i / (size.x * size.y));
}

inline bool launch(dim3 grid, dim3 size, size_t shared, unsigned seed) {
  prepare(grid, size, shared);
  block.seed = seed;
  block.error.clear();
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        block.index = dim3(x, y, z);
        if (!run_block()) return false;
      }
  return true;
}

}  // namespace emulation
