#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace latent_edge::emulator {

namespace {

constexpr uint64_t kCanary = 0x5afe57ac5afe57ac;

Fiber* entering = nullptr;  // how a new fiber learns which one it is

}  // namespace

#if defined(__x86_64__)

// Saves what a call preserves and changes stacks: a few nanoseconds, where swapcontext takes two system calls.
extern "C" void latent_edge_switch(void** from, void* to);
asm(R"(
.text
.p2align 4
.hidden latent_edge_switch
.globl latent_edge_switch
.type latent_edge_switch, @function
latent_edge_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size latent_edge_switch, .-latent_edge_switch
)");

namespace {
void* prepare(char* stack, void (*enter)()) {
  void** top = reinterpret_cast<void**>(stack + Fiber::kStack) - 1;
  *top = nullptr;  // enter() returns nowhere; the stack is aligned as a call leaves it
  *--top = reinterpret_cast<void*>(enter);       // where `ret` goes
  for (int i = 0; i < 6; i++) *--top = nullptr;  // the six saved registers
  return top;
}
}  // namespace

#else

static void latent_edge_switch(void** from, void* to) {
  ucontext_t here;
  *from = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to));
}

namespace {
void* prepare(char* stack, void (*enter)()) {
  // The context itself lies at the stack's upper end.
  auto* context = reinterpret_cast<ucontext_t*>(stack + Fiber::kStack - 8192);
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = Fiber::kStack - 8192;
  context->uc_link = nullptr;
  makecontext(context, enter, 0);
  return context;
}
}  // namespace

#endif

Fiber::Fiber() {
  void* memory = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  stack_ = static_cast<char*>(memory);
  std::memcpy(stack_, &kCanary, sizeof kCanary);
}

Fiber::~Fiber() {
  munmap(stack_, kStack);
}

void Fiber::start(void (*body)(void*), void* argument) {
  body_ = body, argument_ = argument, done_ = false;
  here_ = prepare(stack_, reinterpret_cast<void (*)()>(&Fiber::enter));
}

void Fiber::enter() {
  Fiber* self = entering;
  self->body_(self->argument_);
  self->done_ = true;
  self->suspend();
  __builtin_unreachable();
}

void Fiber::resume() {
  entering = this;
  latent_edge_switch(&scheduler_, here_);
}

void Fiber::suspend() {
  latent_edge_switch(&here_, scheduler_);
}

bool Fiber::intact() const {
  return std::memcmp(stack_, &kCanary, sizeof kCanary) == 0;
}

}  // namespace latent_edge::emulator
