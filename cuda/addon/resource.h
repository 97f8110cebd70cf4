// What a device frees when it is disposed, whoever still refers to it.
#pragma once

namespace latent_edge {

class Resource {
 public:
  virtual ~Resource() = default;
  // On the device's thread. Idempotent; nothing is run with this resource afterwards.
  virtual void release() = 0;
};

}  // namespace latent_edge
