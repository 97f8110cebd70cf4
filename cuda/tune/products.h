// What times every cut of the models' products: products.cu, products_hopper.cu.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../kernels/gemm.h"

namespace latent_edge::gpu {
namespace {

struct Shaped {
  const char* name;
  int images, height, width, c1, c2, columns, kernel;
  bool upsampled, geglu, residual, temb;
};

// {name, images, height, width, channels, of the second source, columns, kernel, upsampled, geglu, residual, temb}
constexpr Shaped kProducts[] = {
    // Stable Diffusion 1.5, batch 2, 512×512
    {"sd15 conv 64² 320", 2, 64, 64, 320, 0, 320, 3, false, false, true, false},
    {"sd15 conv 64² 320+320", 2, 64, 64, 320, 320, 320, 3, false, false, false, true},
    {"sd15 conv 32² 640", 2, 32, 32, 640, 0, 640, 3, false, false, true, false},
    {"sd15 conv 32² 640+640", 2, 32, 32, 640, 640, 640, 3, false, false, false, true},
    {"sd15 conv 16² 1280", 2, 16, 16, 1280, 0, 1280, 3, false, false, true, false},
    {"sd15 conv 16² 1280+1280", 2, 16, 16, 1280, 1280, 1280, 3, false, false, false, true},
    {"sd15 conv 8² 1280", 2, 8, 8, 1280, 0, 1280, 3, false, false, true, false},
    {"sd15 upsample 32² 640", 2, 32, 32, 640, 0, 640, 3, true, false, false, false},
    {"sd15 upsample 16² 1280", 2, 16, 16, 1280, 0, 1280, 3, true, false, false, false},
    {"sd15 linear 8192 320→320", 1, 1, 8192, 320, 0, 320, 1, false, false, true, false},
    {"sd15 linear 8192 320→960", 1, 1, 8192, 320, 0, 960, 1, false, false, false, false},
    {"sd15 geglu 8192 320→2560", 1, 1, 8192, 320, 0, 2560, 1, false, true, false, false},
    {"sd15 linear 8192 1280→320", 1, 1, 8192, 1280, 0, 320, 1, false, false, true, false},
    {"sd15 linear 2048 640→640", 1, 1, 2048, 640, 0, 640, 1, false, false, true, false},
    {"sd15 linear 2048 640→1920", 1, 1, 2048, 640, 0, 1920, 1, false, false, false, false},
    {"sd15 geglu 2048 640→5120", 1, 1, 2048, 640, 0, 5120, 1, false, true, false, false},
    {"sd15 linear 2048 2560→640", 1, 1, 2048, 2560, 0, 640, 1, false, false, true, false},
    {"sd15 linear 512 1280→1280", 1, 1, 512, 1280, 0, 1280, 1, false, false, true, false},
    {"sd15 geglu 512 1280→10240", 1, 1, 512, 1280, 0, 10240, 1, false, true, false, false},
    {"sd15 linear 512 5120→1280", 1, 1, 512, 5120, 0, 1280, 1, false, false, true, false},
    {"sd15 linear 128 1280→1280", 1, 1, 128, 1280, 0, 1280, 1, false, false, true, false},
    // Stable Diffusion XL, batch 2, 1024×1024
    {"xl geglu 2048 1280→10240", 1, 1, 2048, 1280, 0, 10240, 1, false, true, false, false},
    {"xl linear 2048 1280→1280", 1, 1, 2048, 1280, 0, 1280, 1, false, false, true, false},
    {"xl linear 2048 1280→3840", 1, 1, 2048, 1280, 0, 3840, 1, false, false, false, false},
    {"xl linear 2048 5120→1280", 1, 1, 2048, 5120, 0, 1280, 1, false, false, true, false},
    {"xl linear 8192 640→640", 1, 1, 8192, 640, 0, 640, 1, false, false, true, false},
    {"xl geglu 8192 640→5120", 1, 1, 8192, 640, 0, 5120, 1, false, true, false, false},
    {"xl conv 32² 1280", 2, 32, 32, 1280, 0, 1280, 3, false, false, true, false},
    {"xl conv 64² 640", 2, 64, 64, 640, 0, 640, 3, false, false, true, false},
    {"xl conv 128² 320", 2, 128, 128, 320, 0, 320, 3, false, false, true, false},
    // The autoencoder's decoder, 512×512
    {"vae conv 64² 512", 1, 64, 64, 512, 0, 512, 3, false, false, true, false},
    {"vae conv 128² 512", 1, 128, 128, 512, 0, 512, 3, false, false, true, false},
    {"vae upsample 128² 512", 1, 128, 128, 512, 0, 512, 3, true, false, false, false},
    {"vae conv 256² 256", 1, 256, 256, 256, 0, 256, 3, false, false, true, false},
    {"vae conv 512² 256→128", 1, 512, 512, 256, 0, 128, 3, false, false, false, false},
    {"vae conv 512² 128", 1, 512, 512, 128, 0, 128, 3, false, false, true, false},
};

void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
  std::exit(1);
}

constexpr size_t kWeights = size_t{1} << 30, kTensor = size_t{1} << 29, kSums = size_t{2} << 30;

struct Memories {
  char *weights, *x, *residual, *y, *sums, *bias;
};

Product<f16> product_of(const Shaped& s, const Memories& m) {
  Product<f16> p;
  const int shift = s.upsampled ? 1 : 0;
  const auto at = [](char* from) { return reinterpret_cast<f16*>(from); };
  p.left = {at(m.x),
            s.c2 ? at(m.x + kTensor / 2) : nullptr,
            s.c1,
            s.c2,
            s.height,
            s.width,
            shift,
            s.height << shift,
            s.width << shift,
            s.kernel,
            s.kernel,
            1,
            s.kernel / 2,
            s.kernel / 2,
            s.height << shift,
            s.width << shift,
            int64_t{s.images} * (s.height << shift) * (s.width << shift)};
  p.packed = s.columns;
  p.finish.bias = reinterpret_cast<float*>(m.bias);
  p.finish.residual = s.residual ? at(m.residual) : nullptr;
  p.finish.temb = s.temb ? at(m.residual) : nullptr;
  p.finish.y = at(m.y);
  p.finish.columns = s.geglu ? s.columns / 2 : s.columns;
  p.finish.pixels = static_cast<int>(p.left.rows / s.images);
  p.finish.activation = s.geglu ? Activation::geglu : Activation::none;
  return p;
}

struct CutOf {
  int shape, splits;
};

// Prints a product's microseconds in every cut. cuts, of a kernel: how many shapes of tiles it has; stages(p) of the depth;
// chosen(p), what the kernel would take; launcher(p, shape, splits), which launches it, given a stream and memory for
// partial sums.
template <class Cuts>
void time_cuts(const Shaped& s, const Memories& m, cudaStream_t stream, const Cuts& cuts) {
  Product<f16> p = product_of(s, m);
  const int stages = cuts.stages(p);
  const double operations = 2.0 * p.left.rows * s.columns * s.kernel * s.kernel * (s.c1 + s.c2);
  const size_t bytes = static_cast<size_t>(s.columns) * p.left.slabs() * kSlab * sizeof(f16);
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin)), check(cudaEventCreate(&end));
  // Of a graph's run: some launches take longer to ask for than to do.
  const auto time = [&](const CutOf& cut) {
    const auto to = reinterpret_cast<Stream>(stream);
    float* partial = cut.splits > 1 ? reinterpret_cast<float*>(m.sums) : nullptr;
    const size_t runs = operations > 5e10 ? 8 : 24;
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (size_t i = 0; i < runs; i++) {
      p.weight = reinterpret_cast<const f16*>(m.weights + i % (kWeights / bytes) * bytes);
      cuts.launcher(p, cut.shape, cut.splits)(to, partial);
      if (partial) launch_finish(to, p, partial, cut.splits);
    }
    check(cudaStreamEndCapture(stream, &graph));
    check(cudaGraphInstantiate(&executable, graph, 0));
    float least = INFINITY;
    for (int i = 0; i < 3; i++) {
      check(cudaEventRecord(begin, stream));
      check(cudaGraphLaunch(executable, stream));
      check(cudaEventRecord(end, stream)), check(cudaEventSynchronize(end));
      float ms = 0;
      check(cudaEventElapsedTime(&ms, begin, end));
      least = std::min(least, ms);
    }
    check(cudaGraphExecDestroy(executable)), check(cudaGraphDestroy(graph));
    return least * 1000.0 / static_cast<double>(runs);
  };
  std::printf("%s, %d stages:", s.name, stages);
  CutOf best{};
  double least = INFINITY;
  for (int shape = 0; shape < cuts.shapes; shape++)
    for (int splits : {1, 2, 3, 4, 6, 8, 12, 16}) {
      if (splits > 1 && splits > stages / 2) break;
      if (ceil_div(stages, ceil_div(stages, splits)) != splits) continue;  // some would be empty
      if (static_cast<size_t>(splits) * p.left.rows * s.columns * sizeof(float) > kSums) break;
      const double us = time({shape, splits});
      std::printf(" %d/%d %.1f", shape, splits, us);
      if (us < least) least = us, best = {shape, splits};
    }
  const CutOf chosen = cuts.chosen(p);
  std::printf(" | fastest %d/%d %.1f us, %.0f TFLOP/s | chosen %d/%d %.1f us\n", best.shape, best.splits,
              least, operations / least * 1e-6, chosen.shape, chosen.splits, time(chosen));
  std::fflush(stdout);
}

// `cuts_of(multiprocessors)`: see time_cuts.
template <class CutsOf>
int time_products(CutsOf cuts_of) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0));
  Memories m{};
  check(cudaMalloc(&m.weights, kWeights)), check(cudaMalloc(&m.x, kTensor)),
      check(cudaMalloc(&m.residual, kTensor));
  check(cudaMalloc(&m.y, kTensor)), check(cudaMalloc(&m.sums, kSums)), check(cudaMalloc(&m.bias, 1 << 20));
  check(cudaMemset(m.bias, 0, 1 << 20));
  // Random numbers: on zeros a GPU is faster.
  std::vector<__half> numbers(size_t{64} << 20);
  uint32_t state = 1;
  for (__half& n : numbers) {
    state = state * 1664525u + 1013904223u;
    n = __float2half((static_cast<float>(state >> 16) / 32768 - 1) * 0.05f);
  }
  const auto fill = [&](char* to, size_t bytes) {
    const size_t piece = numbers.size() * sizeof(__half);
    for (size_t at = 0; at < bytes; at += piece)
      check(cudaMemcpy(to + at, numbers.data(), piece, cudaMemcpyHostToDevice));
  };
  fill(m.weights, kWeights), fill(m.x, kTensor), fill(m.residual, kTensor);
  cudaStream_t stream;
  check(cudaStreamCreate(&stream));
  std::printf("%s; shape/splits microseconds\n", properties.name);
  for (const Shaped& s : kProducts) time_cuts(s, m, stream, cuts_of(properties.multiProcessorCount));
  return 0;
}

}  // namespace
}  // namespace latent_edge::gpu
