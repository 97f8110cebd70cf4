// Times the cuts of attention_hopper.cu beside attention.cu over the models' attention, for groups_of and its table. No
// Node:
//   cd cuda/tune && nvcc -std=c++20 -O3 -diag-suppress 177 -gencode=arch=compute_90a,code=sm_90a -cudart static \
//     attention.cu ../kernels/attention_wide.cu ../addon/op_desc.cc -o attention && ./attention
// A line for each: microseconds (median of 9 replays of 20 launches) of attention.cu, then of warpgroups, with the largest
// difference between the two results.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../kernels/attention_hopper.cu"
// Both have their own names for things inside.
#define kKeys kKeysOfPlain
#include "../kernels/attention.cu"
#undef kKeys

namespace latent_edge::gpu {
namespace {

struct Shaped {
  const char* name;
  int heads, queries, keys, size;  // two images
};
constexpr Shaped kShapes[] = {
    {"sd15 self 4096 of 40", 8, 4096, 4096, 40}, {"sd15 self 1024 of 80", 8, 1024, 1024, 80},
    {"sd15 self 256 of 160", 8, 256, 256, 160},  {"sd15 self 64 of 160", 8, 64, 64, 160},
    {"xl self 4096 of 64", 10, 4096, 4096, 64},  {"xl self 1024 of 64", 20, 1024, 1024, 64},
    {"sd15 cross 4096 of 40", 8, 4096, 77, 40},  {"sd15 cross 1024 of 80", 8, 1024, 77, 80},
    {"sd15 cross 256 of 160", 8, 256, 77, 160},  {"xl cross 4096 of 64", 10, 4096, 77, 64},
    {"xl cross 1024 of 64", 20, 1024, 77, 64},
};
constexpr unsigned kImages = 2;

struct Cut {
  int size, groups;
  void (*launch)(Stream, const Heads<f16>&, unsigned heads, unsigned images);
};
constexpr Cut kCuts[] = {
    {40, 4, launch_warpgroups<f16, 40, 4, 4>},   {40, 2, launch_warpgroups<f16, 40, 2, 3>},
    {40, 1, launch_warpgroups<f16, 40, 1, 3>},   {64, 4, launch_warpgroups<f16, 64, 4, 4>},
    {64, 2, launch_warpgroups<f16, 64, 2, 3>},   {64, 1, launch_warpgroups<f16, 64, 1, 3>},
    {80, 2, launch_warpgroups<f16, 80, 2, 3>},   {80, 1, launch_warpgroups<f16, 80, 1, 3>},
    {160, 2, launch_warpgroups<f16, 160, 2, 3>}, {160, 1, launch_warpgroups<f16, 160, 1, 3>},
};

void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
  std::exit(1);
}

template <class Run>
double time(cudaStream_t stream, const Run& run) {
  constexpr int kLaunches = 20;
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < kLaunches; i++) run();
  check(cudaStreamEndCapture(stream, &graph));
  check(cudaGraphInstantiate(&replay, graph, 0));
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin)), check(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i < 10; i++) {
    check(cudaEventRecord(begin, stream));
    check(cudaGraphLaunch(replay, stream));
    check(cudaEventRecord(end, stream)), check(cudaEventSynchronize(end));
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end));
    if (i > 0) times.push_back(ms * 1000 / kLaunches);
  }
  check(cudaGraphExecDestroy(replay)), check(cudaGraphDestroy(graph));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void time_cuts(const Shaped& s, const Chip& chip, const f16* numbers, f16* y, cudaStream_t stream) {
  const auto queue = reinterpret_cast<Stream>(stream);
  const auto heads = static_cast<unsigned>(s.heads);
  const int channels = s.heads * s.size;
  const bool cross = s.queries != s.keys;
  Heads<f16> h{};
  h.q = numbers, h.k = numbers + (cross ? 12344 : channels), h.v = h.k + channels, h.y = y;
  h.ld_q = cross ? channels : 3 * channels, h.ld_kv = cross ? 2 * channels : 3 * channels, h.ld_y = channels;
  h.queries = s.queries, h.keys = s.keys, h.size = s.size, h.aligned = true;
  h.scale = kLog2e / std::sqrt(static_cast<float>(s.size));
  const size_t n = size_t{kImages} * s.queries * channels;
  const auto result = [&](const auto& run) {
    check(cudaMemsetAsync(y, 0xff, n * sizeof(f16), stream));
    run();
    std::vector<f16> values(n);
    check(cudaMemcpyAsync(values.data(), y, n * sizeof(f16), cudaMemcpyDeviceToHost, stream));
    check(cudaStreamSynchronize(stream));
    return values;
  };
  const auto plain = [&] {
    if (s.size == 40) launch_attention<f16, 40>(queue, h, heads, kImages, chip);
    if (s.size == 64) launch_attention<f16, 64>(queue, h, heads, kImages, chip);
    if (s.size == 80) launch_attention<f16, 80>(queue, h, heads, kImages, chip);
    if (s.size == 160) launch_attention<f16, 160>(queue, h, heads, kImages, chip);
  };
  const std::vector<f16> expected = result(plain);
  std::printf("%s: attention.cu %.1f", s.name, time(stream, plain));
  for (const Cut& cut : kCuts) {
    if (cut.size != s.size) continue;
    const auto run = [&] { cut.launch(queue, h, heads, kImages); };
    const std::vector<f16> values = result(run);
    float apart = 0;  // NaN where one is
    for (size_t i = 0; i < n; i++) {
      const float each = std::abs(to_float(values[i]) - to_float(expected[i]));
      if (!(each <= apart)) apart = each;
    }
    std::printf(", %d groups %.1f (apart %.1e)", cut.groups, time(stream, run), apart);
  }
  std::printf("; chosen: %d\n", groups_of(h, heads, kImages, chip));
}

}  // namespace
}  // namespace latent_edge::gpu

int main() {
  using namespace latent_edge::gpu;
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0));
  Chip chip;
  chip.multiprocessors = properties.multiProcessorCount;
  chip.shared_bytes = properties.sharedMemPerBlockOptin;
  chip.warpgroups = true;
  // About normal: on zeros a GPU is faster.
  std::vector<f16> numbers(size_t{kImages} * 4096 * 640 * 3);
  uint32_t state = 1;
  for (f16& n : numbers) {
    float v = -2;
    for (int i = 0; i < 4; i++)
      state = state * 1664525u + 1013904223u, v += static_cast<float>(state >> 8) / (1 << 24);
    n = from_float<f16>(v * 1.7f);
  }
  f16 *from, *y;
  check(cudaMalloc(&from, numbers.size() * sizeof(f16))), check(cudaMalloc(&y, numbers.size() * sizeof(f16)));
  check(cudaMemcpy(from, numbers.data(), numbers.size() * sizeof(f16), cudaMemcpyHostToDevice));
  cudaStream_t stream;
  check(cudaStreamCreate(&stream));
  std::printf("%s; microseconds\n", properties.name);
  for (const Shaped& s : kShapes) time_cuts(s, chip, from, y, stream);
  return 0;
}
