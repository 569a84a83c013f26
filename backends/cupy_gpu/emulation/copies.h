// Copies from global to shared memory that go on while a thread does other things: nothing arrives
// before the thread waits for it, so a wait that is missing shows.
#pragma once
#include "block.h"

namespace emulation {

struct Copy {
  void* to;
  const void* from;
  int bytes, group;
};

struct Copies {  // of one thread
  std::vector<Copy> open;
  int group = 0;
};

inline Copies copies[1024];

inline void ask_copy(void* to, const void* from, int bytes, bool real) {
  Copies& own = copies[block.current];
  own.open.push_back({to, real ? from : nullptr, bytes, own.group});
}

inline void close_group() { copies[block.current].group++; }

// Until all but the last `left` groups have arrived.
inline void finish_copies(int left) {
  Copies& own = copies[block.current];
  std::vector<Copy> later;
  for (const Copy& copy : own.open) {
    if (copy.group >= own.group - left) {
      later.push_back(copy);
    } else if (copy.from) {
      std::memcpy(copy.to, copy.from, copy.bytes);
    } else {
      std::memset(copy.to, 0, copy.bytes);
    }
  }
  own.open.swap(later);
}

}  // namespace emulation
