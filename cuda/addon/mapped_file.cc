#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"

namespace latent_edge {

namespace {

[[noreturn]] void fail(const std::string& path, const std::string& reason) {
  throw BadWeights("Cannot map weight file " + path + ": " + reason);
}

}  // namespace

// Not blocking, for the case of a named pipe.
MappedFile::MappedFile(const std::string& path)
    : path_(path), file_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (file_ < 0) fail(path, std::strerror(errno));
  struct stat status {};
  if (fstat(file_, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(file_);
    fail(path, "expected a regular file");
  }
  bytes_ = static_cast<size_t>(status.st_size);
  if (bytes_ == 0) return;
  void* data = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, file_, 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    close(file_);
    fail(path, std::strerror(error));
  }
  data_ = static_cast<char*>(data);
}

MappedFile::~MappedFile() {
  if (data_) munmap(data_, bytes_);
  close(file_);
}

const char* MappedFile::read(size_t offset, size_t bytes) const {
  struct stat status {};
  if (fstat(file_, &status) != 0 || static_cast<size_t>(status.st_size) < offset + bytes)
    throw BadWeights("weight file " + path_ + " has become shorter since it was opened");
  advise(offset, bytes, MADV_WILLNEED);
  return data_ + offset;
}

void MappedFile::forget(size_t offset, size_t bytes) const {
  advise(offset, bytes, MADV_DONTNEED);
}

void MappedFile::advise(size_t offset, size_t bytes, int advice) const {
  if (bytes == 0) return;
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t begin = offset / page * page;
  madvise(data_ + begin, offset + bytes - begin, advice);
}

}  // namespace latent_edge
