// Reads the pictures' files: stb_image decodes, and what it leaves to its caller is done here (EXIF, transparency).
#if __has_include(<stb/stb_image.h>)
#define EDGEKIT_STB <stb/stb_image.h>
#elif __has_include(<stb_image.h>)
#define EDGEKIT_STB <stb_image.h>
#endif

#ifdef EDGEKIT_STB
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_NO_PIC
#define STBI_NO_PSD
#define STBI_NO_TGA
#define STBI_MAX_DIMENSIONS 65535
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include EDGEKIT_STB
#pragma GCC diagnostic pop
#endif

#include <cstring>
#include <memory>

#include "picture.hpp"

namespace edgekit {

namespace {

constexpr uint64_t kMostBytes = 64 << 20;
constexpr int64_t kMostPixels = 100000000;

bool starts(const Bytes& raw, const char* text, size_t size) {
  return raw.size() >= size && !std::memcmp(raw.data(), text, size);
}

uint32_t big(const uint8_t* at, int count) {
  uint32_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | at[i];
  return value;
}

// The orientation in a block of EXIF, which has the form of a TIFF file; 1 where there is none or it is damaged.
int orientation_in(const uint8_t* block, size_t size) {
  if (size < 8) return 1;
  const bool little = block[0] == 'I';
  const auto read = [&](size_t at, int count) -> uint32_t {
    if (at + size_t(count) > size) return 0;
    uint32_t value = 0;
    for (int i = 0; i < count; ++i) value |= uint32_t(block[at + size_t(i)]) << 8 * (little ? i : count - 1 - i);
    return value;
  };
  const size_t folder = read(4, 4);
  const uint32_t entries = read(folder, 2);
  for (uint32_t i = 0; i < entries && folder + 2 + 12 * (i + 1) <= size; ++i) {
    if (read(folder + 2 + 12 * i, 2) == 0x0112) return int(read(folder + 2 + 12 * i + 8, 2));
  }
  return 1;
}

int orientation_of(const Bytes& raw) {
  if (starts(raw, "\xff\xd8\xff", 3)) {
    for (size_t at = 2; at + 4 <= raw.size() && raw[at] == 0xff && raw[at + 1] != 0xda;) {
      const size_t length = big(&raw[at + 2], 2);
      if (raw[at + 1] == 0xe1 && length > 8 && at + 2 + length <= raw.size() && !std::memcmp(&raw[at + 4], "Exif\0", 6)) {
        return orientation_in(&raw[at + 10], length - 8);
      }
      at += 2 + length;
    }
  } else if (starts(raw, "\x89PNG", 4)) {
    for (size_t at = 8; at + 12 <= raw.size();) {
      const size_t length = big(&raw[at], 4);
      if (at + 12 + length > raw.size()) break;
      if (!std::memcmp(&raw[at + 4], "eXIf", 4)) return orientation_in(&raw[at + 8], length);
      at += 12 + length;
    }
  }
  return 1;
}

// Four inks have no one meaning in red, green and blue, and decoders guess differently.
bool has_four_inks(const Bytes& raw) {
  for (size_t at = 2; at + 10 <= raw.size() && raw[at] == 0xff && raw[at + 1] != 0xda; at += 2 + big(&raw[at + 2], 2)) {
    const int marker = raw[at + 1];
    if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) return raw[at + 9] == 4;
  }
  return false;
}

Pixels upright(Pixels picture, int orientation) {
  if (orientation < 2 || orientation > 8) return picture;
  const bool turned = orientation > 4;
  Pixels out{turned ? picture.height : picture.width, turned ? picture.width : picture.height, picture.channels, {}};
  out.levels.resize(picture.levels.size());
  const auto last_x = picture.width - 1, last_y = picture.height - 1;
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      int from_x = turned ? y : x, from_y = turned ? x : y;
      if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) from_x = last_x - from_x;
      if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) from_y = last_y - from_y;
      std::memcpy(&out.levels[(size_t(y) * size_t(out.width) + size_t(x)) * size_t(out.channels)],
                  &picture.levels[(size_t(from_y) * size_t(picture.width) + size_t(from_x)) * size_t(out.channels)],
                  size_t(out.channels));
    }
  }
  return out;
}

// Lays what has an alpha channel, the last one, over white.
Pixels opaque(const Pixels& picture) {
  if (picture.channels % 2) return picture;
  const size_t channels = size_t(picture.channels), count = picture.levels.size() / channels;
  Pixels out{picture.width, picture.height, picture.channels - 1, Bytes(count * (channels - 1))};
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* from = &picture.levels[i * channels];
    const int alpha = from[channels - 1];
    for (size_t c = 0; c + 1 < channels; ++c) {
      const int t = from[c] * alpha + 255 * (255 - alpha) + 128;
      out.levels[i * (channels - 1) + c] = uint8_t(((t >> 8) + t) >> 8);
    }
  }
  return out;
}

}  // namespace

Pixels decode_picture(const std::string& path) {
  const Bytes raw = read_file(path, kMostBytes);
  const std::string where = shown(path);
#ifndef EDGEKIT_STB
  fail("%s cannot be read: this runner was built without stb_image. Install libstb-dev and build it again, or give an "
       ".npy file", where.c_str());
#else
  const bool bitmap = starts(raw, "BM", 2), jpeg = starts(raw, "\xff\xd8\xff", 3);
  const bool known = bitmap || jpeg || starts(raw, "\x89PNG\r\n\x1a\n", 8) || starts(raw, "GIF8", 4) ||
                     starts(raw, "P5", 2) || starts(raw, "P6", 2);
  if (!known) {
    fail("%s is no picture that this runner reads. Save it as JPEG, PNG, GIF, BMP or PPM", where.c_str());
  }
  if (jpeg && has_four_inks(raw)) fail("%s has four inks (CMYK). Save it with red, green and blue", where.c_str());
  Pixels picture;
  int channels = 0;
  if (!stbi_info_from_memory(raw.data(), int(raw.size()), &picture.width, &picture.height, &channels)) {
    fail("%s is damaged: %s. Save or send the picture again", where.c_str(), stbi_failure_reason());
  }
  if (int64_t(picture.width) * picture.height > kMostPixels) {
    fail("%s has %d x %d pixels; the limit is 100 megapixels. Scale it down", where.c_str(), picture.width, picture.height);
  }
  // A plain bitmap of 32 bits leaves its last 8 unused.
  const int wanted = bitmap && raw.size() > 30 && raw[30] == 0 ? 3 : 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> levels(
      stbi_load_from_memory(raw.data(), int(raw.size()), &picture.width, &picture.height, &channels, wanted),
      stbi_image_free);
  if (!levels) fail("%s is damaged: %s. Save or send the picture again", where.c_str(), stbi_failure_reason());
  picture.channels = wanted ? wanted : channels;
  picture.levels.assign(levels.get(), levels.get() + size_t(picture.width) * size_t(picture.height) * size_t(picture.channels));
  return upright(opaque(picture), orientation_of(raw));
#endif
}

}  // namespace edgekit
