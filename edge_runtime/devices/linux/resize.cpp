// Makes an upright picture the size that a program takes, level for level as docs/BUNDLE.md says. Knows no files.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "picture.hpp"

namespace edgekit {

namespace {

constexpr int kFractionBits = 22;  // of a weight

// One direction of a resize: `total` places from the part [begin, begin + length) of a side, of which `count` from
// `first` on are made.
struct Side {
  float begin = 0, length = 0;
  int total = 0, first = 0, count = 0;
  bool same(int side) const { return begin == 0 && length == float(side) && total == side && count == side; }
};

double triangle(double t) { return std::max(0.0, 1 - std::fabs(t)); }

double cubic(double t) {  // Keys' with a = -0.5
  t = std::fabs(t);
  if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
  return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
}

// For each output its first pixel and its weights, as multiples of 2^-22.
struct Weights {
  std::vector<int> from;
  std::vector<std::vector<int>> of;
};

Weights weights(const Side& side, int pixels, bool bicubic) {
  Weights out;
  const double step = double(side.length) / side.total, scale = std::max(1.0, step), support = scale * (bicubic ? 2 : 1);
  for (int x = side.first; x < side.first + side.count; ++x) {
    const double centre = side.begin + (x + 0.5) * step;
    const int low = std::max(0, int(centre - support + 0.5)), high = std::min(pixels, int(centre + support + 0.5));
    std::vector<double> shares;
    double sum = 0;
    for (int i = low; i < high; ++i) {
      const double t = (i - centre + 0.5) * (1 / scale);
      shares.push_back(bicubic ? cubic(t) : triangle(t));
      sum += shares.back();
    }
    std::vector<int> whole;
    for (const double share : shares) {
      const double value = (sum ? share / sum : share) * (1 << kFractionBits);
      whole.push_back(int(value < 0 ? value - 0.5 : value + 0.5));
    }
    out.from.push_back(low);
    out.of.push_back(whole);
  }
  return out;
}

uint8_t* pixel(Pixels& picture, int x, int y) {
  return &picture.levels[(size_t(y) * size_t(picture.width) + size_t(x)) * size_t(picture.channels)];
}

// Along one axis. `rows`: of a resize across, which rows are needed.
Pixels resampled(Pixels& picture, const Side& side, bool across, bool bicubic) {
  if (side.same(across ? picture.width : picture.height)) return std::move(picture);
  const Weights weight = weights(side, across ? picture.width : picture.height, bicubic);
  Pixels out{across ? side.count : picture.width, across ? picture.height : side.count, picture.channels, {}};
  out.levels.resize(size_t(out.width) * size_t(out.height) * size_t(out.channels));
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const size_t place = size_t(across ? x : y);
      const int low = weight.from[place];
      for (int c = 0; c < out.channels; ++c) {
        int sum = 1 << (kFractionBits - 1);
        for (size_t i = 0; i < weight.of[place].size(); ++i) {
          const int at = low + int(i);
          sum += weight.of[place][i] * pixel(picture, across ? at : x, across ? y : at)[c];
        }
        pixel(out, x, y)[c] = uint8_t(std::clamp(sum >> kFractionBits, 0, 255));
      }
    }
  }
  return out;
}

std::vector<int> nearest(const Side& side, int pixels) {
  std::vector<int> out;
  const double step = double(side.length) / side.total;
  double at = side.begin + step * 0.5;
  for (int x = 0; x < side.first + side.count; ++x, at += step) {
    if (x >= side.first) out.push_back(std::clamp(int(std::floor(at)), 0, pixels - 1));
  }
  return out;
}

Pixels resized(Pixels picture, const Side& wide, const Side& high, const std::string& interpolation) {
  if (interpolation == "nearest") {
    const auto xs = nearest(wide, picture.width), ys = nearest(high, picture.height);
    Pixels out{wide.count, high.count, picture.channels, {}};
    out.levels.resize(size_t(out.width) * size_t(out.height) * size_t(out.channels));
    for (int y = 0; y < out.height; ++y) {
      for (int x = 0; x < out.width; ++x) {
        std::memcpy(pixel(out, x, y), pixel(picture, xs[size_t(x)], ys[size_t(y)]), size_t(out.channels));
      }
    }
    return out;
  }
  // Only the rows that the second pass reads: of a long strip no more than its middle is widened.
  const double step = double(high.length) / high.total, reach = std::ceil(2 * std::max(1.0, step)) + 1;
  const int first = std::max(0, int(std::floor(high.begin + high.first * step - reach)));
  const int last = std::min(picture.height, int(std::ceil(high.begin + (high.first + high.count) * step + reach)));
  Side down = high;
  if (first > 0 || last < picture.height) {
    const size_t row = size_t(picture.width) * size_t(picture.channels);
    picture.levels = Bytes(picture.levels.begin() + long(size_t(first) * row), picture.levels.begin() + long(size_t(last) * row));
    picture.height = last - first;
    down.begin -= float(first);
  }
  Pixels widened = resampled(picture, wide, true, interpolation == "bicubic");
  return resampled(widened, down, false, interpolation == "bicubic");
}

Pixels in_mode(const Pixels& picture, int channels) {
  if (picture.channels == channels) return picture;
  const size_t count = size_t(picture.width) * size_t(picture.height);
  Pixels out{picture.width, picture.height, channels, Bytes(count * size_t(channels))};
  for (size_t i = 0; i < count; ++i) {
    if (channels == 3) {
      std::memset(&out.levels[3 * i], picture.levels[i], 3);
    } else {
      const uint8_t* from = &picture.levels[3 * i];
      out.levels[i] = uint8_t((19595 * from[0] + 38470 * from[1] + 7471 * from[2] + 32768) >> 16);
    }
  }
  return out;
}

Pixels in_size(const Pixels& picture, const PictureSpec& spec) {
  if (spec.resize != "resize_center_crop" && picture.width == spec.width && picture.height == spec.height) return picture;
  Side sides[2];
  int64_t scaled_pixels = 1;
  for (int i = 0; i < 2; ++i) {
    const int n = i ? picture.height : picture.width, cut = i ? spec.height : spec.width;
    const int64_t scaled = int64_t(spec.resize_to) * n / std::min(picture.width, picture.height);
    const int64_t half = (scaled - cut) / 2, first = half + ((scaled - cut) % 2 && half % 2);  // halves to even
    scaled_pixels *= scaled;
    if (spec.resize == "stretch") {
      sides[i] = {0, float(n), cut, 0, cut};
    } else if (spec.resize == "resize_crop") {
      const float begin = float(double(first * n) / double(scaled));
      sides[i] = {begin, float(double((first + cut) * n) / double(scaled)) - begin, cut, 0, cut};
    } else {
      sides[i] = {0, float(n), int(scaled), int(first), cut};
    }
  }
  if (spec.resize == "resize_center_crop" && scaled_pixels > 100000000) {
    fail("the picture is so long and thin that it would have %lld pixels when it is resized. Cut out the part that matters",
         (long long)scaled_pixels);
  }
  return resized(picture, sides[0], sides[1], spec.interpolation);
}

}  // namespace

Array picture_input(const Pixels& picture, const PictureSpec& spec, bool invert) {
  Pixels made = in_size(in_mode(picture, spec.channels()), spec);
  if (invert) {
    for (uint8_t& level : made.levels) level = uint8_t(255 - level);
  }
  if (spec.dtype == "uint8") return {"uint8", {1, spec.height, spec.width, spec.channels()}, std::move(made.levels)};
  Array out{"float32", {1, spec.channels(), spec.height, spec.width}, Bytes(made.levels.size() * sizeof(float))};
  const size_t plane = size_t(spec.height) * size_t(spec.width), channels = size_t(spec.channels());
  for (size_t c = 0; c < channels; ++c) {
    for (size_t i = 0; i < plane; ++i) {
      const float value = float((made.levels[i * channels + c] / 255.0 - spec.mean[c]) / spec.std[c]);
      std::memcpy(&out.data[(c * plane + i) * sizeof value], &value, sizeof value);
    }
  }
  return out;
}

}  // namespace edgekit
