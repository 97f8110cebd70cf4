// Memory that the programs of one device share, as they run one after another: as much as the neediest live one asks
// for.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "account.h"
#include "buffer.h"

namespace latent_edge {

class Scratch {
 public:
  // `purpose` names it in errors; it counts towards `counter`, one of the account's.
  Scratch(std::shared_ptr<Account> account, std::atomic<int64_t> Account::*counter, const char* purpose)
      : account_(std::move(account)), counter_(counter), purpose_(purpose) {}

  // A program's claim; given back when it is destroyed, on any thread.
  class Claim {
   public:
    Claim() = default;
    Claim(Scratch& scratch, size_t bytes) : scratch_(&scratch), bytes_(bytes) { scratch.add(bytes); }
    ~Claim() { reset(); }
    Claim(Claim&& other) noexcept { *this = std::move(other); }
    Claim& operator=(Claim&& other) noexcept {
      reset();
      scratch_ = std::exchange(other.scratch_, nullptr);
      bytes_ = other.bytes_;
      return *this;
    }
    void reset() {
      if (scratch_) std::exchange(scratch_, nullptr)->remove(bytes_);
    }

   private:
    Scratch* scratch_ = nullptr;
    size_t bytes_ = 0;
  };

  // The memory for one run. On the device's thread, between runs. Throws OutOfMemory.
  class Use {
   public:
    explicit Use(Scratch& scratch) : scratch_(scratch), buffer_(scratch.enter()) {}
    ~Use() { scratch_.leave(); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    Buffer& operator*() const { return buffer_; }

   private:
    Scratch& scratch_;
    Buffer& buffer_;
  };

  // So that a want of memory shows before the first run. On the device's thread, between runs. Throws OutOfMemory.
  void reserve() { Use use(*this); }

 private:
  Buffer& enter() {
    std::lock_guard lock(mutex_);
    const size_t bytes = claims_.empty() ? 0 : *claims_.rbegin();
    if (buffer_.bytes() < bytes) {
      buffer_.reset();
      buffer_ = Buffer(bytes, purpose_, &((*account_).*counter_));
    }
    in_use_ = true;
    return buffer_;
  }
  void leave() {
    std::lock_guard lock(mutex_);
    in_use_ = false;
    shrink();
  }
  void add(size_t bytes) {
    std::lock_guard lock(mutex_);
    claims_.insert(bytes);
  }
  void remove(size_t bytes) {
    std::lock_guard lock(mutex_);
    claims_.erase(claims_.find(bytes));
    shrink();
  }
  // Memory of a program that is gone goes back; the next run allocates what it needs.
  void shrink() {
    if (!in_use_ && buffer_.bytes() > (claims_.empty() ? 0 : *claims_.rbegin())) buffer_.reset();
  }

  std::shared_ptr<Account> account_;
  std::atomic<int64_t> Account::*counter_;
  const char* purpose_;
  std::mutex mutex_;
  std::multiset<size_t> claims_;
  Buffer buffer_;
  bool in_use_ = false;
};

}  // namespace latent_edge
