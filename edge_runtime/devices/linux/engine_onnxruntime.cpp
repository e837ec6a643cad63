// ONNX Runtime through its C interface, loaded when a bundle asks for it: from lib/ beside this program.
//
// The interface is one table of functions to which new ones are only ever added at the end, so the places of the old ones
// are fixed. The few that are used here are called by their place: no header of a particular version is needed.
#include <dlfcn.h>

#include <cstring>

#include "engine.hpp"

namespace edgekit {

namespace {

constexpr uint32_t kInterface = 11;  // onnxruntime 1.11 and everything newer has it

enum Place {  // in the table of functions
  kGetErrorMessage = 2,
  kCreateEnv = 3,
  kCreateSession = 7,
  kRun = 9,
  kCreateSessionOptions = 10,
  kSetIntraOpNumThreads = 24,
  kSetInterOpNumThreads = 25,
  kCreateTensorWithData = 49,
  kGetTensorMutableData = 51,
  kGetTensorElementType = 60,
  kGetDimensionsCount = 61,
  kGetDimensions = 62,
  kGetTensorTypeAndShape = 65,
  kCreateCpuMemoryInfo = 69,
  kReleaseStatus = 93,
  kReleaseSession = 95,
  kReleaseValue = 96,
  kReleaseTensorTypeAndShapeInfo = 99,
  kReleaseSessionOptions = 100,
  kAddSessionConfigEntry = 130,
};

struct ApiBase {
  void* const* (*table)(uint32_t version);
  const char* (*version)();
};

const struct { const char* dtype; int code; } kTypes[] = {{"float32", 1}, {"uint8", 2},  {"int8", 3},
                                                          {"int32", 6},   {"int64", 7}, {"float16", 10}};

class OnnxRuntime : public Engine {
 public:
  OnnxRuntime(const Bundle& bundle, int num_threads) : bundle_(bundle) {
    name = "onnxruntime";
    void* library = dlopen("libonnxruntime.so.1", RTLD_NOW | RTLD_LOCAL);  // found by this program's $ORIGIN/lib
    if (!library) fail("ONNX Runtime cannot be loaded: %s. Copy the whole folder again", shown(dlerror(), 300).c_str());
    const auto base = reinterpret_cast<const ApiBase* (*)()>(dlsym(library, "OrtGetApiBase"));
    if (!base) fail("libonnxruntime.so.1 is not ONNX Runtime. Copy the whole folder again");
    version = base()->version();
    table_ = base()->table(kInterface);
    if (!table_) fail("ONNX Runtime %s is too old: 1.11 or newer is needed", version.c_str());
    void *env = nullptr, *options = nullptr;
    call(kCreateEnv, 3, "edgekit", &env);  // 3: only errors are logged
    call(kCreateSessionOptions, &options);
    call(kSetIntraOpNumThreads, options, num_threads);
    call(kSetInterOpNumThreads, options, 1);
    // Threads that spin between runs keep a device's cores busy and disturb measurements.
    call(kAddSessionConfigEntry, options, "session.intra_op.allow_spinning", "0");
    call(kAddSessionConfigEntry, options, "session.load_model_format", "ONNX");
    call(kCreateSession, env, bundle.model_path.c_str(), options, &session_);
    release(kReleaseSessionOptions, options);
    call(kCreateCpuMemoryInfo, 0, 0, &memory_);
    for (const auto& spec : bundle.inputs) input_names_.push_back(spec.name.c_str());
    for (const auto& spec : bundle.outputs) output_names_.push_back(spec.name.c_str());
  }

  ~OnnxRuntime() override { release(kReleaseSession, session_); }

  void run(const std::vector<Array>& inputs, std::vector<Array>& outputs) override {
    std::vector<void*> given(inputs.size()), answers(output_names_.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Array& array = inputs[i];
      int code = 0;
      for (const auto& type : kTypes) code = array.dtype == type.dtype ? type.code : code;
      call(kCreateTensorWithData, memory_, array.data.data(), array.data.size(), array.shape.data(), array.shape.size(),
           code, &given[i]);
    }
    call(kRun, session_, nullptr, input_names_.data(), given.data(), given.size(), output_names_.data(),
         output_names_.size(), answers.data());
    outputs.resize(answers.size());
    for (size_t i = 0; i < answers.size(); ++i) read(answers[i], outputs[i], i);
    for (void* value : given) release(kReleaseValue, value);
    for (void* value : answers) release(kReleaseValue, value);
  }

 private:
  template <typename... Arguments>
  void call(Place place, Arguments... arguments) {
    const auto function = reinterpret_cast<void* (*)(Arguments...)>(table_[place]);
    if (void* status = function(arguments...)) {
      const auto message = reinterpret_cast<const char* (*)(void*)>(table_[kGetErrorMessage]);
      const std::string text = shown(message(status), 600);
      release(kReleaseStatus, status);
      fail("ONNX Runtime %s: %s", version.c_str(), text.c_str());
    }
  }

  void release(Place place, void* object) { reinterpret_cast<void (*)(void*)>(table_[place])(object); }

  void read(void* value, Array& out, size_t index) {
    void *about = nullptr, *data = nullptr;
    int code = 0;
    size_t axes = 0;
    call(kGetTensorTypeAndShape, value, &about);
    call(kGetTensorElementType, about, &code);
    call(kGetDimensionsCount, about, &axes);
    out.shape.resize(axes);
    call(kGetDimensions, about, out.shape.data(), axes);
    release(kReleaseTensorTypeAndShapeInfo, about);
    out.dtype = bundle_.outputs[index].dtype;
    for (const auto& type : kTypes) {
      if (type.code == code && out.dtype != type.dtype) {
        fail("the output %s is %s, and the manifest says %s. Pack the bundle again", bundle_.outputs[index].name.c_str(),
             type.dtype, out.dtype.c_str());
      }
    }
    call(kGetTensorMutableData, value, &data);
    out.data.resize(elements(out.shape) * item_bytes(out.dtype));
    std::memcpy(out.data.data(), data, out.data.size());
  }

  const Bundle& bundle_;
  void* const* table_ = nullptr;
  void *session_ = nullptr, *memory_ = nullptr;
  std::vector<const char*> input_names_, output_names_;
};

}  // namespace

std::unique_ptr<Engine> open_onnxruntime(const Bundle& bundle, int num_threads) {
  return std::make_unique<OnnxRuntime>(bundle, num_threads);
}

std::unique_ptr<Engine> open_engine(const Bundle& bundle, int num_threads) {
  std::unique_ptr<Engine> engine;
  if (bundle.format == "onnx") {
    engine = open_onnxruntime(bundle, num_threads);
#ifdef EDGEKIT_EXECUTORCH
  } else if (bundle.format == "executorch") {
    engine = open_executorch(bundle, num_threads);
#endif
  } else {
    fail("%s holds a model file of the format %s, and this runner runs none such. Write the app again, with this bundle",
         shown(bundle.folder).c_str(), shown(bundle.format).c_str());
  }
  const auto needed = bundle.requires_.find(engine->name);
  if (needed != bundle.requires_.end() && !at_least(engine->version, needed->second)) {
    fail("%s needs %s %s or newer, and this runner has %s. Write the app again with a newer one",
         shown(bundle.folder).c_str(), engine->name.c_str(), shown(needed->second).c_str(), engine->version.c_str());
  }
  return engine;
}

}  // namespace edgekit
