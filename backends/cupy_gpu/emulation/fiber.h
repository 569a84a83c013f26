// Fibers: a stack each, switched by hand. One fiber stands for one CUDA thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <ucontext.h>

namespace emulation {

#if defined(__x86_64__) && !defined(MC_PORTABLE_FIBERS)

struct Fiber {
  void* stack_pointer;
};

// Saves what the x86-64 calling convention asks a callee to save, and goes on on the other stack.
extern "C" void mc_switch_stack(void** from, void* to);
__asm__(R"(
.text
.type mc_switch_stack,@function
mc_switch_stack:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");

inline void switch_fiber(Fiber& from, Fiber& to) {
  mc_switch_stack(&from.stack_pointer, to.stack_pointer);
}

inline void make_fiber(Fiber& fiber, char* stack, size_t size, void (*entry)()) {
  void** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack + size) & ~uintptr_t(15));
  *--top = nullptr;  // where `entry` would return to: it never does
  *--top = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  fiber.stack_pointer = top;
}

#else

struct Fiber {
  ucontext_t context;
};

inline void switch_fiber(Fiber& from, Fiber& to) { swapcontext(&from.context, &to.context); }

inline void make_fiber(Fiber& fiber, char* stack, size_t size, void (*entry)()) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stack;
  fiber.context.uc_stack.ss_size = size;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
}

#endif

}  // namespace emulation
