// The arrays of a golden file: an .npz, which is a zip archive whose members are stored, each an .npy file.
#include <cstdio>
#include <cstring>

#include "bundle.hpp"

namespace edgekit {

namespace {

uint64_t little(const Bytes& bytes, size_t at, int count) {
  if (at + size_t(count) > bytes.size()) fail("golden.npz is cut short. Copy the bundle again");
  uint64_t value = 0;
  for (int i = 0; i < count; ++i) value |= uint64_t(bytes[at + size_t(i)]) << 8 * i;
  return value;
}

const struct { const char *descr, *dtype; } kTypes[] = {
    {"|b1", "bool"}, {"|u1", "uint8"}, {"|i1", "int8"}, {"<u2", "uint16"}, {"<u4", "uint32"}, {"<u8", "uint64"},
    {"<i2", "int16"}, {"<i4", "int32"}, {"<i8", "int64"}, {"<f2", "float16"}, {"<f4", "float32"}, {"<f8", "float64"}};

// Takes `text` off the front of `rest`.
bool skip(std::string& rest, const std::string& text) {
  if (rest.compare(0, text.size(), text)) return false;
  rest.erase(0, text.size());
  return true;
}

}  // namespace

Array read_npy(const Bytes& bytes, const std::string& where) {
  const auto bad = [&](const char* what) {
    fail("%s is no array that is read here: %s. Save it with numpy.save, in C order, as version 1.0",
         shown(where).c_str(), what);
  };
  if (bytes.size() < 10 || std::memcmp(bytes.data(), "\x93NUMPY\x01\x00", 8)) bad("it does not begin like an .npy file");
  const size_t length = little(bytes, 8, 2);
  if (bytes.size() < 10 + length) bad("its header is cut short");
  std::string rest(bytes.begin() + 10, bytes.begin() + 10 + long(length));
  Array array;
  if (!skip(rest, "{'descr': '")) bad("its header is spelled in another way");
  for (const auto& type : kTypes) {
    if (array.dtype.empty() && skip(rest, type.descr)) array.dtype = type.dtype;
  }
  if (array.dtype.empty()) bad("its numbers are of another kind");
  if (!skip(rest, "', 'fortran_order': False, 'shape': (")) bad("it is not in C order");
  while (!rest.empty() && std::isdigit(static_cast<unsigned char>(rest[0]))) {
    char* stop = nullptr;
    array.shape.push_back(std::strtoll(rest.c_str(), &stop, 10));
    rest.erase(0, size_t(stop - rest.c_str()));
    if (!skip(rest, ", ")) skip(rest, ",");
  }
  if (!skip(rest, "), }")) bad("its header is spelled in another way");
  if (elements(array.shape) * item_bytes(array.dtype) != bytes.size() - 10 - length) bad("its size is not what its shape says");
  array.data.assign(bytes.begin() + 10 + long(length), bytes.end());
  return array;
}

void write_npy(const std::string& path, const Array& array) {
  std::string descr;
  for (const auto& type : kTypes) {
    if (array.dtype == type.dtype) descr = type.descr;
  }
  std::string shape = shape_text(array.shape);
  shape = "(" + shape.substr(1, shape.size() - 2) + (array.shape.size() == 1 ? ",)" : ")");
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header.append(64 - (10 + header.size() + 1) % 64, ' ');
  header += '\n';
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (!file) fail("%s cannot be written: %s", shown(path).c_str(), std::strerror(errno));
  const uint8_t start[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, uint8_t(header.size()), uint8_t(header.size() >> 8)};
  const bool whole = std::fwrite(start, 1, 10, file) == 10 &&
                     std::fwrite(header.data(), 1, header.size(), file) == header.size() &&
                     std::fwrite(array.data.data(), 1, array.data.size(), file) == array.data.size();
  if (std::fclose(file) || !whole) fail("%s cannot be written to its end. Free space there", shown(path).c_str());
}

std::map<std::string, Array> read_golden(const Bundle& bundle) {
  const Bytes bytes = read_file(bundle.golden_path, uint64_t(1) << 30);
  if (bytes.size() < 22 || little(bytes, bytes.size() - 22, 4) != 0x06054b50) fail("golden.npz is no archive");
  const size_t end = bytes.size() - 22, entries = little(bytes, end + 10, 2);
  size_t at = little(bytes, end + 16, 4);
  std::map<std::string, Array> out;
  for (size_t i = 0; i < entries; ++i) {
    if (little(bytes, at, 4) != 0x02014b50 || little(bytes, at + 10, 2)) fail("golden.npz: a member is not stored plainly");
    const size_t size = little(bytes, at + 24, 4), name_length = little(bytes, at + 28, 2);
    const size_t local = little(bytes, at + 42, 4);
    little(bytes, at + 46 + name_length, 0);
    std::string name(bytes.begin() + long(at) + 46, bytes.begin() + long(at + 46 + name_length));
    const size_t data = local + 30 + little(bytes, local + 26, 2) + little(bytes, local + 28, 2);
    if (data + size > end || size != little(bytes, at + 20, 4)) fail("golden.npz: a member is cut short");
    const Bytes member(bytes.begin() + long(data), bytes.begin() + long(data + size));
    if (name.size() > 4 && !name.compare(name.size() - 4, 4, ".npy")) name.resize(name.size() - 4);
    out[name] = read_npy(member, "golden.npz's " + name);
    at += 46 + name_length + little(bytes, at + 30, 2) + little(bytes, at + 32, 2);
  }
  // Each array that is used here has a row for each sample, of the manifest's dtype and shape.
  const auto check = [&](const std::string& name, const TensorSpec& spec) {
    const auto found = out.find(name);
    std::vector<int64_t> shape = spec.shape;
    shape[0] = bundle.samples;
    if (found == out.end() || found->second.dtype != spec.dtype || found->second.shape != shape) {
      fail("golden.npz: %s should be %s %s. Pack the bundle again", name.c_str(), spec.dtype.c_str(),
           shape_text(shape).c_str());
    }
  };
  for (const auto& spec : bundle.inputs) check("inputs/" + spec.name, spec);
  for (const auto& spec : bundle.outputs) {
    check("outputs/" + spec.name, spec);
    for (const auto& engine : bundle.engines) check("packed/" + engine + "/" + spec.name, spec);
  }
  return out;
}

}  // namespace edgekit
