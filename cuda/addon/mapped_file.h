// A file's bytes in memory, read-only.
#pragma once

#include <cstddef>
#include <ctime>
#include <string>

namespace latent_edge {

class MappedFile {
 public:
  // Throws BadWeights naming the file and the system's reason.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  size_t bytes() const { return bytes_; }

  // The bytes from offset on, about to be read. Throws where the file has been cut short since it was mapped, as
  // reading would end the process, or been written to.
  const char* read(size_t offset, size_t bytes) const;

  // Throws where it has been written to since it was mapped. (Another file under its name is none of its concern.)
  void check_unchanged() const;

  // Lets go of these bytes' memory; they can be read again.
  void forget(size_t offset, size_t bytes) const;

 private:
  void advise(size_t offset, size_t bytes, int advice) const;

  std::string path_;
  int file_ = -1;
  char* data_ = nullptr;
  size_t bytes_ = 0;
  timespec written_{};  // when last, as it was mapped
};

}  // namespace latent_edge
