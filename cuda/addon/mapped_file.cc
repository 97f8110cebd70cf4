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
  written_ = status.st_mtim;
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

void MappedFile::check_unchanged() const {
  struct stat status {};
  if (fstat(file_, &status) != 0 || static_cast<size_t>(status.st_size) < bytes_)
    throw BadWeights("weight file " + path_ + " has become shorter since it was opened");
  if (status.st_mtim.tv_sec != written_.tv_sec || status.st_mtim.tv_nsec != written_.tv_nsec)
    throw BadWeights("weight file " + path_ + " has been written to since it was opened");
}

const char* MappedFile::read(size_t offset, size_t bytes) const {
  check_unchanged();
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
