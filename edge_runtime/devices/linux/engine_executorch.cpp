// ExecuTorch, through the C functions of executorch_shim.cpp, which Python uses as well.
#include <cstring>

#include "engine.hpp"

struct Session;
struct TensorView {  // as in executorch_shim.cpp
  int32_t scalar_type, ndim;
  const void* data;
  int32_t sizes[16], strides[16];
};
extern "C" {
Session* edgekit_open(const char* path, int verification, int memory_map, int num_threads, char* error, size_t size);
int edgekit_inputs(const Session* session);
int edgekit_outputs(const Session* session);
void edgekit_input(const Session* session, int index, TensorView* view);
void edgekit_output(const Session* session, int index, TensorView* view);
int edgekit_reshape(Session* session, int index, const int32_t* sizes, char* error, size_t size);
int edgekit_run(Session* session, void* const* data, char* error, size_t size);
void edgekit_close(Session* session);
}

namespace edgekit {

namespace {

const char* const kTypes[] = {"uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"};

std::string dtype_of(const TensorView& view) {
  return view.scalar_type >= 0 && view.scalar_type < 8 ? kTypes[view.scalar_type] : "of an unknown kind";
}

class ExecuTorch : public Engine {
 public:
  ExecuTorch(const Bundle& bundle, int num_threads) : bundle_(bundle) {
    name = "executorch";
    version = EDGEKIT_EXECUTORCH;
    session_ = edgekit_open(bundle.model_path.c_str(), 1, 1, num_threads, error_, sizeof error_);
    if (!session_) {
      const bool kernel = std::strstr(error_, "OperatorMissing");
      fail("%s cannot be loaded: %s.%s", shown(bundle.model_path).c_str(), shown(error_, 600).c_str(),
           kernel ? " Write the app again with this bundle, or without --minimal" : "");
    }
    if (edgekit_inputs(session_) != int(bundle.inputs.size()) || edgekit_outputs(session_) != int(bundle.outputs.size())) {
      fail("the program has other inputs or outputs than the manifest says. Pack the bundle again");
    }
    for (size_t i = 0; i < bundle.inputs.size(); ++i) {
      TensorView view;
      edgekit_input(session_, int(i), &view);
      check(dtype_of(view), bundle.inputs[i]);
      rows_.push_back(view.sizes[0]);
    }
  }

  ~ExecuTorch() override { edgekit_close(session_); }

  void run(const std::vector<Array>& inputs, std::vector<Array>& outputs) override {
    std::vector<void*> data;
    for (size_t i = 0; i < inputs.size(); ++i) {
      data.push_back(const_cast<uint8_t*>(inputs[i].data.data()));
      if (inputs[i].shape[0] == rows_[i]) continue;
      std::vector<int32_t> sizes(inputs[i].shape.begin(), inputs[i].shape.end());
      if (edgekit_reshape(session_, int(i), sizes.data(), error_, sizeof error_) < 0) fail("%s", error_);
      rows_[i] = inputs[i].shape[0];
    }
    if (edgekit_run(session_, data.data(), error_, sizeof error_) < 0) fail("ExecuTorch: %s", shown(error_, 600).c_str());
    outputs.resize(bundle_.outputs.size());
    for (size_t i = 0; i < outputs.size(); ++i) {
      TensorView view;
      edgekit_output(session_, int(i), &view);
      Array& out = outputs[i];
      check(out.dtype = dtype_of(view), bundle_.outputs[i]);
      out.shape.assign(view.sizes, view.sizes + view.ndim);
      int64_t step = 1;
      for (int axis = view.ndim; axis-- > 0; step *= view.sizes[axis]) {
        if (view.sizes[axis] > 1 && view.strides[axis] != step) {
          fail("the output %s is not row by row in memory. Pack the bundle again", bundle_.outputs[i].name.c_str());
        }
      }
      out.data.resize(elements(out.shape) * item_bytes(out.dtype));
      std::memcpy(out.data.data(), view.data, out.data.size());
    }
  }

 private:
  static void check(const std::string& dtype, const TensorSpec& spec) {
    if (dtype != spec.dtype) {
      fail("%s is %s, and the manifest says %s. Pack the bundle again", spec.name.c_str(), dtype.c_str(), spec.dtype.c_str());
    }
  }

  const Bundle& bundle_;
  Session* session_ = nullptr;
  std::vector<int64_t> rows_;
  char error_[2048];
};

}  // namespace

std::unique_ptr<Engine> open_executorch(const Bundle& bundle, int num_threads) {
  return std::make_unique<ExecuTorch>(bundle, num_threads);
}

}  // namespace edgekit
