// One tensor of a checkpoint, in a file or in memory.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../cpu/kernel.h"
#include "buffer.h"
#include "convert.h"
#include "mapped_file.h"

namespace latent_edge {

struct WeightSource {
  std::string name;
  Element element = Element::f32;
  Shape shape;
  std::string file;  // empty: in `data`
  size_t offset = 0;
  bool transposed = false;  // a matrix [K, N] in memory and file, where `shape` is [N, K]
  bool eight_bits = false;  // to be packed in 8 bits
  std::vector<float> data;
  std::shared_ptr<MappedFile> mapped;  // set by map()

  // Throws BadWeights where the shape has more bytes than there are numbers.
  size_t bytes() const;

  // Maps the file, unless `files` has it already, and checks that the tensor lies within. Throws
  // BadWeights naming the tensor.
  void map(std::map<std::string, std::shared_ptr<MappedFile>>& files);

  // As float32, on all threads; memory that takes counts towards `counter`. Throws BadWeights naming
  // a tensor that is not finite.
  void convert(float* to, ThreadPool& pool, std::atomic<int64_t>* counter) const;

  // Elements [begin, begin + count) as they are, on all threads. Throws BadWeights naming a tensor that is not finite.
  void copy(size_t begin, size_t count, char* to, ThreadPool& pool) const;
};

// Checkpoints write a 1×1 convolution's weight as [N, K, 1, 1], a linear layer's as [N, K].
Shape without_trailing_ones(Shape shape);

}  // namespace latent_edge
