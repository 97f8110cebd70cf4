// Where windows begin in images of a tensor map.
#pragma once

namespace latent_edge::gpu {

// Every `stride` pixels from (x, y) on, so many in a line and so many lines of an image.
struct WindowGrid {
  int images, height, width;
  int x, y, columns, lines, stride;

  // From an image's last pixel to where its last window begins.
  int last_x() const { return x + (columns - 1) * stride - (width - 1); }
  int last_y() const { return y + (lines - 1) * stride - (height - 1); }
  // A map has them as signed bytes.
  bool fits() const {
    const auto is_byte = [](int v) { return v >= -128 && v <= 127; };
    return is_byte(x) && is_byte(y) && is_byte(last_x()) && is_byte(last_y()) && stride <= 8;
  }
};

}  // namespace latent_edge::gpu
