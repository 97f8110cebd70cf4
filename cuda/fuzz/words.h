// What the fuzz targets read: lines of words. A number that is none is 0; words that are missing are empty.
#pragma once

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "../addon/convert.h"
#include "../ops/op.h"

namespace latent_edge {

class Words {
 public:
  explicit Words(const std::string& line) : stream_(line) {}

  std::string text() {
    std::string word;
    stream_ >> word;
    return word;
  }
  int64_t integer() { return std::strtoll(text().c_str(), nullptr, 10); }
  double number() { return std::strtod(text().c_str(), nullptr); }

  // The rest of the line.
  Shape shape() {
    Shape shape;
    for (std::string word; shape.size() < 16 && stream_ >> word;)
      shape.push_back(std::strtoll(word.c_str(), nullptr, 10));
    return shape;
  }

 private:
  std::istringstream stream_;
};

}  // namespace latent_edge
