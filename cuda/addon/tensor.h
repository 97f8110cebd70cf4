// A buffer that stays on its device between programs.
#pragma once

#include <memory>
#include <utility>

#include "../ops/op.h"
#include "account.h"
#include "buffer.h"
#include "resource.h"

namespace latent_edge {

class Tensor : public Resource {
 public:
  Tensor(DType dtype, Shape shape, size_t element_bytes)
      : dtype(dtype),
        shape(std::move(shape)),
        bytes(static_cast<size_t>(elements(this->shape)) * element_bytes) {}

  const DType dtype;
  const Shape shape;
  const size_t bytes;
};

class HostTensor final : public Tensor {
 public:
  HostTensor(DType dtype, Shape shape, std::shared_ptr<Account> account)
      : Tensor(dtype, std::move(shape), 4),
        account_(std::move(account)),
        buffer_(bytes, "a tensor kept on the device", &account_->tensors) {}

  // nullptr once the device has been disposed.
  char* data() const { return buffer_.data(); }
  void release() override { buffer_.reset(); }

 private:
  std::shared_ptr<Account> account_;
  Buffer buffer_;
};

}  // namespace latent_edge
