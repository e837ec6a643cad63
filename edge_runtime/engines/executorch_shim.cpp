// ExecuTorch's C++ runtime behind a few C functions, so that Python reaches it through ctypes and without torch.
// It runs `forward` of one program on plain pointers; it knows nothing of numpy, of bundles or of what a tensor means.
//
// Compiled on the user's machine by executorch_native.py against the headers and libraries of the installed package.
// Nothing but a return value leaves these functions: an error of the runtime, a failed assertion inside it and a C++
// exception all become a text "what happened: Name (0xcode): what the runtime logged".

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/extension/threadpool/threadpool_guard.h>
#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/kernel/operator_registry.h>
#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

#define API extern "C" __attribute__((visibility("default")))

using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::extension::threadpool::NoThreadPoolGuard;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::Method;
using executorch::runtime::Program;

// The package ships this class in libexecutorch_threadpool but not its header. Non-virtual functions of an object that
// the library makes and keeps: the class's layout is not needed to call them.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t new_thread_count);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace {

constexpr int kMaxDims = 16;  // ExecuTorch's own limit

// What a run can be given and what it gives; executorch_native.py has the same struct.
struct TensorView {
  int32_t scalar_type;
  int32_t ndim;
  const void* data;
  int32_t sizes[kMaxDims];
  int32_t strides[kMaxDims];
};

struct Failure {
  std::string text;
};
struct Aborted {};

// ---- What the runtime says: its log and its assertions ----

thread_local bool inside = false;  // only what happens within one of our calls is ours to catch
thread_local std::string* said = nullptr;

void keep_message(et_timestamp_t, et_pal_log_level_t level, const char* file, const char*, size_t line,
                  const char* message, size_t length) {
  if (level != kError && level != kFatal) return;
  if (!inside) {
    std::fprintf(stderr, "executorch: %.*s (%s:%zu)\n", static_cast<int>(length), message, file, line);
  } else if (said && said->size() < 600) {
    *said += (said->empty() ? "" : "; ") + std::string(message, length);
  }
}

// The runtime's assertions end here and must not return. Its libraries are built with exceptions, so the stack unwinds
// to our catch. Not so in a thread of its pool: nobody could catch it there.
void throw_instead_of_abort() {
  if (inside) throw Aborted();
  std::abort();
}

struct Inside {
  std::string log;
  Inside() {
    inside = true;
    said = &log;
  }
  ~Inside() {
    inside = false;
    said = nullptr;
  }
};

[[noreturn]] void fail(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  throw Failure{text};
}

void check(Error error, const char* what) {
  if (error == Error::Ok) return;
  const char* name = executorch::runtime::to_string(error);  // "Error::OperatorMissing"
  fail("%s: %s (0x%x)", what, std::strstr(name, "::") + 2, static_cast<unsigned>(error));
}

// Call with `loading` held. Whoever registers last is heard, and the Python runtime registers itself when it is imported
// into the same process: so this is looked at again at each load.
void listen() {
  static bool started = false;
  if (!started) executorch::runtime::runtime_init();
  started = true;
  const auto* pal = executorch::runtime::get_pal_impl();
  if (pal->abort == throw_instead_of_abort && pal->emit_log_message == keep_message) return;
  executorch::runtime::register_pal(executorch::runtime::PalImpl::create(
      nullptr, throw_instead_of_abort, nullptr, nullptr, keep_message, nullptr, nullptr, __FILE__));
  said->clear();  // it remarks that somebody had registered before
}

// ---- A loaded program ----

struct Session {
  std::unique_ptr<Module> module;
  Method* method = nullptr;
  std::vector<TensorPtr> inputs;                // their data pointers are set at each run
  std::vector<TensorView> outputs;              // where the last run left them
  std::vector<std::vector<uint8_t>> unplanned;  // memory for outputs that the program brings none for
  int num_threads = 1;
  bool broken = false;  // an assertion failed inside: what it left behind is not touched again

  // XNNPACK asks for the pool when a program is loaded and when it runs; one thread means no pool at all.
  std::unique_ptr<NoThreadPoolGuard> guard() const {
    return num_threads == 1 ? std::make_unique<NoThreadPoolGuard>() : nullptr;
  }
};

std::mutex loading;       // one load at a time: the log, the pool's size, the count below
int pooled_sessions = 0;  // sessions that hold on to the pool

// The pool belongs to the process, and a program keeps the pool it was loaded with: a pool that is in use must not be
// replaced (its owner would go on using freed memory). Call with `loading` held.
void reserve_pool(int num_threads) {
  if (num_threads == 1) return;
  auto* pool = executorch::extension::threadpool::get_threadpool();
  const size_t now = pool->get_thread_count();
  if (pooled_sessions > 0 && now != static_cast<size_t>(num_threads)) {
    fail("ExecuTorch has one thread pool in a process, and an open model uses it with %zu threads; %d were asked for. "
         "Close that one first, ask for %zu or 1, or use another process", now, num_threads, now);
  }
  pool->_unsafe_reset_threadpool(static_cast<uint32_t>(num_threads));
}

// Damaged programs may ask for any amount of memory, and the runtime would write zeros to all of it.
void check_memory(const executorch::runtime::MethodMeta& meta) {
  const double physical = double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGE_SIZE));
  double asked = 0;
  for (size_t i = 0; i < meta.num_memory_planned_buffers(); ++i) {
    auto size = meta.memory_planned_buffer_size(i);
    check(size.error(), "its memory plan cannot be read");
    if (size.get() < 0) fail("its memory plan holds a negative size");
    asked += double(size.get());
  }
  if (asked > physical) fail("it asks for %.0f MB of working memory, more than this machine has", asked / 1e6);
}

TensorView view_of(const executorch::aten::Tensor& tensor) {
  TensorView view{static_cast<int32_t>(tensor.scalar_type()), static_cast<int32_t>(tensor.dim()),
                  tensor.const_data_ptr(), {}, {}};
  if (view.ndim > kMaxDims) fail("a tensor has %d dimensions", view.ndim);
  std::copy(tensor.sizes().begin(), tensor.sizes().end(), view.sizes);
  std::copy(tensor.strides().begin(), tensor.strides().end(), view.strides);
  return view;
}

// Where the outputs are now. True when one has moved or changed its shape since the last time.
bool find_outputs(Session& session) {
  bool moved = false;
  for (size_t i = 0; i < session.outputs.size(); ++i) {
    const EValue& value = session.method->get_output(i);
    if (!value.isTensor()) fail("output %zu is not a tensor", i);
    const auto& tensor = value.toTensor();
    TensorView& last = session.outputs[i];
    if (last.data == tensor.const_data_ptr() && last.ndim == tensor.dim() &&
        std::equal(tensor.sizes().begin(), tensor.sizes().end(), last.sizes)) continue;
    last = view_of(tensor);
    moved = true;
  }
  return moved;
}

void prepare(Session& session) {
  auto meta = session.method->method_meta();
  for (size_t i = 0; i < meta.num_inputs(); ++i) {
    auto info = meta.input_tensor_meta(i);
    if (!info.ok()) fail("input %zu is not a tensor", i);
    const auto order = info->dim_order();
    for (size_t d = 0; d < order.size(); ++d) {
      if (order[d] != d) fail("input %zu wants another memory layout than row by row", i);
    }
    session.inputs.push_back(executorch::extension::from_blob(
        nullptr, {info->sizes().begin(), info->sizes().end()}, info->scalar_type()));
  }
  session.unplanned.resize(meta.num_outputs());
  for (size_t i = 0; i < meta.num_outputs(); ++i) {
    auto info = meta.output_tensor_meta(i);
    if (!info.ok()) fail("output %zu is not a tensor", i);
    const EValue& value = session.method->get_output(i);
    if (!info->is_memory_planned() && value.isTensor() && !value.toTensor().const_data_ptr()) {
      session.unplanned[i].resize(info->nbytes());
      check(session.method->set_output_data_ptr(session.unplanned[i].data(), info->nbytes(), i), "an output's memory");
    }
  }
  session.outputs.resize(meta.num_outputs());
  find_outputs(session);
}

// Runs `work`; whatever goes wrong inside becomes text in `error` and -1.
template <typename Work>
int guarded(char* error, size_t size, bool* broken, Work work) {
  Inside here;
  std::string text;
  try {
    return work();
  } catch (const Failure& failure) {
    text = failure.text;
  } catch (const Aborted&) {
    text = "ExecuTorch gave up";
    *broken = true;
  } catch (const std::exception& other) {
    text = other.what();
    *broken = true;
  }
  if (!here.log.empty()) text += ": " + here.log;
  std::snprintf(error, size, "%s", text.c_str());
  return -1;
}

// Frees a session; a broken one is leaked, because an assertion left its objects half made.
void discard(Session* session) {
  if (session->broken) return;
  char ignored[8];
  bool broken = false;
  guarded(ignored, sizeof ignored, &broken, [&] {
    delete session;
    return 0;
  });
}

}  // namespace

// Loads `forward` of the program at `path` for `num_threads`; null and a text in `error` when it cannot be.
// verification: 0 minimal, 1 internal consistency. memory_map: 0 reads the file, 1 maps it.
API Session* edgekit_open(const char* path, int verification, int memory_map, int num_threads, char* error,
                          size_t size) {
  auto session = std::make_unique<Session>();
  session->num_threads = num_threads;
  const int failed = guarded(error, size, &session->broken, [&] {
    std::lock_guard<std::mutex> lock(loading);
    listen();
    reserve_pool(num_threads);
    const auto guard = session->guard();
    session->module =
        std::make_unique<Module>(path, memory_map ? Module::LoadMode::Mmap : Module::LoadMode::File);
    check(session->module->load(verification ? Program::Verification::InternalConsistency
                                             : Program::Verification::Minimal), "it is no sound program");
    auto meta = session->module->method_meta("forward");
    check(meta.error(), "it has no method 'forward'");
    check_memory(*meta);
    check(session->module->load_method("forward"), "its method 'forward' cannot be loaded");
    auto method = session->module->method("forward");
    check(method.error(), "its method 'forward' cannot be loaded");
    session->method = *method;
    prepare(*session);
    if (num_threads > 1) ++pooled_sessions;
    return 0;
  });
  if (!failed) return session.release();
  discard(session.release());
  return nullptr;
}

API int edgekit_inputs(const Session* session) { return static_cast<int>(session->inputs.size()); }

API int edgekit_outputs(const Session* session) { return static_cast<int>(session->outputs.size()); }

// The type and shape of an input: at first the shape it was exported with, its upper bound where it is dynamic.
API void edgekit_input(const Session* session, int index, TensorView* view) { *view = view_of(*session->inputs[index]); }

// An output, where the last run left it: valid until the next one.
API void edgekit_output(const Session* session, int index, TensorView* view) { *view = session->outputs[index]; }

// Gives an input another shape of as many dimensions; whether the program takes it is found at the next run.
API int edgekit_reshape(Session* session, int index, const int32_t* sizes, char* error, size_t size) {
  return guarded(error, size, &session->broken, [&] {
    const auto& old = session->inputs[index];
    session->inputs[index] =
        executorch::extension::from_blob(nullptr, {sizes, sizes + old->dim()}, old->scalar_type());
    return 0;
  });
}

// Runs `forward`. data: for each input, row-by-row data of its type and shape.
// 0: done. 1: done, and an output is elsewhere or of another shape than before. -1: failed, text in `error`.
API int edgekit_run(Session* session, void* const* data, char* error, size_t size) {
  return guarded(error, size, &session->broken, [&] {
    if (session->broken) fail("it failed before and cannot be used any more");
    const auto guard = session->guard();
    for (size_t i = 0; i < session->inputs.size(); ++i) {
      session->inputs[i]->unsafeGetTensorImpl()->set_data(data[i]);
      check(session->method->set_input(EValue(*session->inputs[i]), i), "an input does not fit");
    }
    check(session->method->execute(), "the run failed");
    return find_outputs(*session) ? 1 : 0;
  });
}

// What programs can use here, one a line: "backend NAME" or "operator NAME". Returns the whole text's length, which may
// be more than `size`.
API int edgekit_registered(char* text, size_t size) {
  std::string found;
  for (size_t i = 0; i < executorch::runtime::get_num_registered_backends(); ++i) {
    auto name = executorch::runtime::get_backend_name(i);
    if (name.ok()) found += "backend " + std::string(*name) + "\n";
  }
  for (const auto& kernel : executorch::runtime::get_registered_kernels()) {
    found += "operator " + std::string(kernel.name_) + "\n";
  }
  std::snprintf(text, size, "%s", found.c_str());
  return static_cast<int>(found.size());
}

API void edgekit_close(Session* session) {
  std::lock_guard<std::mutex> lock(loading);
  const bool pooled = session->num_threads > 1;
  discard(session);
  if (pooled) --pooled_sessions;
}
