// What every file of the runner uses: one kind of error, arrays, files and their hashes. Knows nothing of bundles.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace edgekit {

// What can go wrong on purpose. Its text is one sentence for the user.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Text from a file, for a message: one printable line of at most `most` bytes.
std::string shown(const std::string& text, size_t most = 200);

using Bytes = std::vector<uint8_t>;

// Reads a regular file of at most `most` bytes.
Bytes read_file(const std::string& path, uint64_t most);

// SHA-256 in lower-case hexadecimal, of memory and of a file.
std::string sha256(const void* data, size_t size);
std::string sha256_of_file(const std::string& path);

// Numbers row by row (C order), little-endian.
struct Array {
  std::string dtype;           // uint8, int8, int32, int64, float16, float32; a golden file's targets have others too
  std::vector<int64_t> shape;  // the batch axis first
  Bytes data;

  size_t rows() const { return shape.empty() ? 0 : size_t(shape[0]); }
  size_t row_bytes() const { return rows() ? data.size() / rows() : 0; }
};

size_t item_bytes(const std::string& dtype);           // 0 for an unknown dtype
size_t elements(const std::vector<int64_t>& shape);    // fails where that is not a sensible number
std::string shape_text(const std::vector<int64_t>& shape);  // "[1, 8, 8, 1]"
std::vector<double> numbers(const Array& array);       // every element as a double
Array rows_of(const Array& array, size_t first, size_t count);  // rows first … first + count - 1

}  // namespace edgekit
