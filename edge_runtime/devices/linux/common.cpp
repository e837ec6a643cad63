#include "common.hpp"

#include <sys/stat.h>

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>

namespace edgekit {

void fail(const char* format, ...) {
  char text[4000];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  throw Failure(text);
}

std::string shown(const std::string& text, size_t most) {
  std::string line = text.substr(0, most);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text.size() > most ? line + "..." : line;
}

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

static File open_regular(const std::string& path, uint64_t* size) {
  struct stat about;
  if (stat(path.c_str(), &about)) fail("there is no file %s. Check the path", shown(path).c_str());
  if (!S_ISREG(about.st_mode)) fail("%s is not a regular file. Give the path of a file", shown(path).c_str());
  File file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) fail("%s cannot be read: %s", shown(path).c_str(), std::strerror(errno));
  *size = uint64_t(about.st_size);
  return file;
}

Bytes read_file(const std::string& path, uint64_t most) {
  uint64_t size = 0;
  File file = open_regular(path, &size);
  if (size > most) {
    fail("%s has %llu bytes; at most %llu are read", shown(path).c_str(), (unsigned long long)size,
         (unsigned long long)most);
  }
  Bytes bytes(size);
  if (std::fread(bytes.data(), 1, size, file.get()) != size) fail("%s cannot be read to its end", shown(path).c_str());
  return bytes;
}

// ---- SHA-256, as FIPS 180-4 defines it ----

// The first 32 bits of the fractional part of a root of n: of the square root for the first eight primes, of the cube
// root for the first 64. Exact in extended doubles: both need some 40 bits.
struct Constants {
  uint32_t start[8], round[64];
  Constants() {
    int found = 0;
    for (int n = 2; found < 64; ++n) {
      bool prime = true;
      for (int d = 2; d * d <= n; ++d) prime = prime && n % d;
      if (!prime) continue;
      if (found < 8) start[found] = fraction(std::sqrt(double(n)));
      round[found++] = fraction(std::cbrt(double(n)));
    }
  }
  static uint32_t fraction(double root) { return uint32_t((root - std::floor(root)) * 4294967296.0); }
};

class Sha256 {
 public:
  void update(const uint8_t* data, size_t size) {
    total_ += size;
    while (size) {
      const size_t part = std::min(size, sizeof block_ - filled_);
      std::memcpy(block_ + filled_, data, part);
      filled_ += part, data += part, size -= part;
      if (filled_ == sizeof block_) mix();
    }
  }

  std::string hex() {
    const uint64_t bits = total_ * 8;
    const uint8_t one = 0x80, zero = 0;
    update(&one, 1);
    while (filled_ != 56) update(&zero, 1);
    uint8_t length[8];
    for (int i = 0; i < 8; ++i) length[i] = uint8_t(bits >> (56 - 8 * i));
    update(length, 8);
    char text[65];
    for (int i = 0; i < 8; ++i) std::snprintf(text + 8 * i, 9, "%08x", state_[i]);
    return text;
  }

 private:
  static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

  void mix() {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; ++i) {
      w[i] = uint32_t(block_[4 * i]) << 24 | block_[4 * i + 1] << 16 | block_[4 * i + 2] << 8 | block_[4 * i + 3];
    }
    for (int i = 16; i < 64; ++i) {
      const uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
    }
    std::memcpy(s, state_, sizeof s);
    for (int i = 0; i < 64; ++i) {
      const uint32_t e = s[4], a = s[0];
      const uint32_t first = s[7] + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & s[5]) ^ (~e & s[6])) +
                             constants().round[i] + w[i];
      const uint32_t second = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
      std::memmove(s + 1, s, 7 * sizeof *s);
      s[4] += first;
      s[0] = first + second;
    }
    for (int i = 0; i < 8; ++i) state_[i] += s[i];
    filled_ = 0;
  }

  static const Constants& constants() {
    static const Constants made;
    return made;
  }

  uint32_t state_[8] = {constants().start[0], constants().start[1], constants().start[2], constants().start[3],
                        constants().start[4], constants().start[5], constants().start[6], constants().start[7]};
  uint8_t block_[64];
  size_t filled_ = 0;
  uint64_t total_ = 0;
};

std::string sha256(const void* data, size_t size) {
  Sha256 hash;
  hash.update(static_cast<const uint8_t*>(data), size);
  return hash.hex();
}

std::string sha256_of_file(const std::string& path) {
  uint64_t size = 0;
  File file = open_regular(path, &size);
  Sha256 hash;
  Bytes part(1 << 20);
  while (const size_t got = std::fread(part.data(), 1, part.size(), file.get())) hash.update(part.data(), got);
  if (std::ferror(file.get())) fail("%s cannot be read to its end", shown(path).c_str());
  return hash.hex();
}

// ---- Arrays ----

size_t item_bytes(const std::string& dtype) {
  if (dtype == "bool" || dtype == "uint8" || dtype == "int8") return 1;
  if (dtype == "float16" || dtype == "uint16" || dtype == "int16") return 2;
  if (dtype == "float32" || dtype == "uint32" || dtype == "int32") return 4;
  return dtype == "float64" || dtype == "uint64" || dtype == "int64" ? 8 : 0;
}

size_t elements(const std::vector<int64_t>& shape) {
  size_t count = 1;
  for (const int64_t length : shape) {
    if (length < 0 || __builtin_mul_overflow(count, size_t(length), &count) || count > size_t(1) << 40) {
      fail("an array has the shape %s, which no memory holds", shape_text(shape).c_str());
    }
  }
  return count;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t length : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(length);
  return text + "]";
}

static double half(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double size = exponent == 31  ? (fraction ? NAN : INFINITY)
                      : exponent == 0 ? std::ldexp(fraction, -24)
                                      : std::ldexp(1024 + fraction, exponent - 25);
  return bits >> 15 ? -size : size;
}

template <typename T>
static void widen(const Array& array, std::vector<double>& out) {
  for (size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, array.data.data() + i * sizeof value, sizeof value);
    out[i] = double(value);
  }
}

std::vector<double> numbers(const Array& array) {
  std::vector<double> out(array.data.size() / std::max<size_t>(1, item_bytes(array.dtype)));
  if (array.dtype == "float32") widen<float>(array, out);
  else if (array.dtype == "float64") widen<double>(array, out);
  else if (array.dtype == "uint8" || array.dtype == "bool") widen<uint8_t>(array, out);
  else if (array.dtype == "int8") widen<int8_t>(array, out);
  else if (array.dtype == "int32") widen<int32_t>(array, out);
  else if (array.dtype == "int64") widen<int64_t>(array, out);
  else if (array.dtype == "float16") {
    std::vector<double>& values = out;
    widen<uint16_t>(array, values);
    for (double& value : values) value = half(uint16_t(value));
  } else fail("arrays of %s are not read", array.dtype.c_str());
  return out;
}

Array rows_of(const Array& array, size_t first, size_t count) {
  Array part{array.dtype, array.shape, {}};
  part.shape[0] = int64_t(count);
  const auto begin = array.data.begin() + long(first * array.row_bytes());
  part.data.assign(begin, begin + long(count * array.row_bytes()));
  return part;
}

}  // namespace edgekit
