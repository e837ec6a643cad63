// From a picture's file to the first input of a program, as docs/BUNDLE.md says under "Pictures".
#pragma once

#include "bundle.hpp"

namespace edgekit {

struct Pixels {  // 8 bits, row by row
  int width = 0, height = 0, channels = 0;  // 1: grey, 3: red, green, blue
  Bytes levels;
};

// Steps 1 to 4: the picture in a file, upright and opaque.
Pixels decode_picture(const std::string& path);

// Steps 5 to 9: the input, (1, height, width, channels) uint8 or (1, channels, height, width) float32.
Array picture_input(const Pixels& picture, const PictureSpec& spec, bool invert);

}  // namespace edgekit
