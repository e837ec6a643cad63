// A bundle's folder, checked: its manifest and the checksums of its files. docs/BUNDLE.md says what they mean.
#pragma once

#include <map>
#include <optional>

#include "common.hpp"

namespace edgekit {

struct TensorSpec {
  std::string name, dtype, holds;
  std::vector<int64_t> shape;
};

struct Floor {  // what a replay of an output is held to; nothing where it is not
  std::optional<double> sqnr_db, agreement, max_abs;
};

struct PictureSpec {  // how a picture becomes the first input
  std::string mode, resize, interpolation, dtype;
  int height = 0, width = 0, resize_to = 0;
  std::vector<double> mean, std;
  int channels() const { return mode == "L" ? 1 : 3; }
};

struct Bundle {
  std::string folder, name, model, task, status, manifest_sha256;
  std::vector<std::string> labels;
  std::optional<PictureSpec> picture;
  std::string program, format, model_path, golden_path;
  std::vector<TensorSpec> inputs, outputs;
  std::map<std::string, Floor> floors;
  int64_t samples = 0;
  int64_t batch_most = 1;                       // the most rows of one run; above 1 the batch is free
  std::map<std::string, std::string> requires_;  // by engine, the lowest version
  std::vector<std::string> engines;             // NAME-PRECISION of each that ran it when it was packed
};

// Opens a folder and checks everything before any engine sees a file. Fails on whatever is not as it should be.
Bundle open_bundle(const std::string& folder);

// Whether version `found` is at least `needed`; both like "1.5.1".
bool at_least(const std::string& found, const std::string& needed);

// What golden.npz holds, by member name without ".npy": inputs/NAME, outputs/NAME, packed/ENGINE/NAME, targets.
std::map<std::string, Array> read_golden(const Bundle& bundle);

Array read_npy(const Bytes& bytes, const std::string& where);
void write_npy(const std::string& path, const Array& array);

}  // namespace edgekit
