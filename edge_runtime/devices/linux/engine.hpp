// What runs a program: arrays in, arrays out. Knows nothing of pictures or answers.
#pragma once

#include <memory>

#include "bundle.hpp"

namespace edgekit {

class Engine {
 public:
  virtual ~Engine() = default;
  std::string name, version;  // of the library
  // One run. The inputs are in the program's order, all with the same number of rows; so are the outputs.
  virtual void run(const std::vector<Array>& inputs, std::vector<Array>& outputs) = 0;
};

// Loads the bundle's program. Fails where no engine here can run it, and says what is missing.
std::unique_ptr<Engine> open_engine(const Bundle& bundle, int num_threads);

std::unique_ptr<Engine> open_executorch(const Bundle& bundle, int num_threads);
std::unique_ptr<Engine> open_onnxruntime(const Bundle& bundle, int num_threads);

}  // namespace edgekit
