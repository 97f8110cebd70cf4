// Failures that JavaScript tells apart, by the `code` of its error.
#pragma once

#include <stdexcept>
#include <string>

namespace latent_edge {

class CodedError : public std::runtime_error {
 public:
  CodedError(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const { return code_; }

 private:
  const char* code_;  // a literal
};

// There is not enough memory.
struct OutOfMemory : CodedError {
  explicit OutOfMemory(const std::string& message) : CodedError("ERR_OUT_OF_MEMORY", message) {}
};

// A tensor of a checkpoint or adapter, or the file it is in, cannot be used.
struct BadWeights : CodedError {
  explicit BadWeights(const std::string& message) : CodedError("ERR_BAD_WEIGHTS", message) {}
};

// The device does nothing any more, whatever is asked of it: it has to be opened by another process.
struct DeviceLost : CodedError {
  static constexpr const char* kCode = "ERR_DEVICE_LOST";
  explicit DeviceLost(const std::string& message) : CodedError(kCode, message) {}
};

}  // namespace latent_edge
