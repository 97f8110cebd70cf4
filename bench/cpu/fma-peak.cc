// Multiplications and additions per second that this machine's vector units do when nothing is read or written.
//   fma-peak THREADS: prints FLOP/s of all threads together, the best of five
// Compiled with the flags of the instruction set that is asked about; bench/cpu/peak.ts does so.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr int kLanes = 16, kChains = 24;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kChains = 12;
#else
constexpr int kLanes = 4, kChains = 12;
#endif
typedef float Vec __attribute__((vector_size(4 * kLanes)));

constexpr long kTurns = 20'000'000;

// As many sums that do not wait for each other as registers hold.
static float turn(float x) {
  Vec sums[kChains];
  for (int i = 0; i < kChains; i++) sums[i] = Vec{} + x * i;
  Vec a = Vec{} + (1 - x), b = Vec{} + x;
  for (long t = 0; t < kTurns; t++) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; i++) sums[i] = sums[i] * a + b;
    asm volatile("" : "+x"(a), "+x"(b));
  }
  Vec all = {};
  for (int i = 0; i < kChains; i++) all += sums[i];
  return all[0];
}

int main(int, char** arguments) {
  const int threads = std::atoi(arguments[1]);
  double best = 0;
  for (int round = 0; round < 5; round++) {
    std::vector<std::thread> working;
    std::vector<float> results(threads);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < threads; i++) working.emplace_back([&, i] { results[i] = turn(1e-9f); });
    for (std::thread& thread : working) thread.join();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const double flops = 2.0 * kLanes * kChains * kTurns * threads / seconds.count();
    if (flops > best && results[0] < 1e9f) best = flops;
  }
  std::printf("%.0f\n", best);
}
