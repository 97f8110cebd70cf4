// A buffer that stays on its device between programs.
#pragma once

#include <memory>
#include <utility>

#include "../cpu/kernel.h"
#include "account.h"
#include "buffer.h"
#include "resource.h"

namespace latent_edge {

class Tensor final : public Resource {
 public:
  Tensor(DType dtype, Shape shape, std::shared_ptr<Account> account)
      : dtype(dtype),
        shape(std::move(shape)),
        bytes(static_cast<size_t>(elements(this->shape)) * 4),
        account_(std::move(account)),
        buffer_(bytes, "a tensor kept on the device", &account_->tensors) {}

  // nullptr once the device has been disposed.
  char* data() const { return buffer_.data(); }
  void release() override { buffer_.reset(); }

  const DType dtype;
  const Shape shape;
  const size_t bytes;

 private:
  std::shared_ptr<Account> account_;
  Buffer buffer_;
};

}  // namespace latent_edge
