// The shim with a tracer: when each instruction of a program, and each operator inside its delegate, began and ended.
// Compiled beside the shim and loaded in its place by executorch_profile.py; nothing else pays for it.

#include "executorch_shim.cpp"

#include <executorch/runtime/core/event_tracer.h>

using executorch::runtime::AllocatorID;
using executorch::runtime::ArrayRef;
using executorch::runtime::ChainID;
using executorch::runtime::DebugHandle;
using executorch::runtime::DelegateDebugIdType;
using executorch::runtime::DelegateDebugIntId;
using executorch::runtime::EventTracer;
using executorch::runtime::EventTracerEntry;
using executorch::runtime::LoggedEValueType;
using executorch::runtime::Result;

namespace {

// One finished event; executorch_profile.py has the same struct. Times are ticks of the runtime's clock.
struct TraceEvent {
  int64_t start;
  int64_t end;
  int32_t instruction;  // -1: the whole method
  int32_t in_delegate;
  char name[112];
};

class Tracer final : public EventTracer {
 public:
  std::vector<TraceEvent> events;

  EventTracerEntry start_profiling(const char* name, ChainID chain, DebugHandle instruction) override {
    // The runtime says where it is once, for all events inside an instruction.
    if (chain == executorch::runtime::kUnsetChainId) instruction = chain_id_ < 0 ? -1 : debug_handle_;
    return begin(name, static_cast<int32_t>(instruction), false);
  }
  EventTracerEntry start_profiling_delegate(const char* name, DelegateDebugIntId) override {
    return begin(name, static_cast<int32_t>(debug_handle_), true);
  }
  void end_profiling(EventTracerEntry entry) override { events[entry.event_id].end = et_pal_current_ticks(); }
  void end_profiling_delegate(EventTracerEntry entry, const void*, size_t) override { end_profiling(entry); }
  void log_profiling_delegate(const char* name, DelegateDebugIntId, et_timestamp_t start, et_timestamp_t end,
                              const void*, size_t) override {
    begin(name, static_cast<int32_t>(debug_handle_), true);
    events.back().start = start;
    events.back().end = end;
  }

  // What is not asked for.
  void create_event_block(const char*) override {}
  void track_allocation(AllocatorID, size_t) override {}
  AllocatorID track_allocator(const char*) override { return 0; }
  Result<bool> log_evalue(const EValue&, LoggedEValueType) override { return false; }
  Result<bool> log_intermediate_output_delegate(const char*, DelegateDebugIntId,
                                                const executorch::aten::Tensor&) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, DelegateDebugIntId,
                                                const ArrayRef<executorch::aten::Tensor>) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, DelegateDebugIntId, const int&) override { return false; }
  Result<bool> log_intermediate_output_delegate(const char*, DelegateDebugIntId, const bool&) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, DelegateDebugIntId, const double&) override {
    return false;
  }
  void set_delegation_intermediate_output_filter(executorch::runtime::EventTracerFilterBase*) override {}

 private:
  EventTracerEntry begin(const char* name, int32_t instruction, bool in_delegate) {
    TraceEvent event{};
    event.instruction = instruction;
    event.in_delegate = in_delegate;
    std::snprintf(event.name, sizeof event.name, "%s", name ? name : "");
    event.start = event.end = static_cast<int64_t>(et_pal_current_ticks());
    events.push_back(event);
    return {static_cast<int64_t>(events.size()) - 1, chain_id_, debug_handle_,
            static_cast<et_timestamp_t>(event.start), DelegateDebugIdType::kNone};
  }
};

Tracer tracer;  // one traced program in a process

}  // namespace

// Loads `forward` of an open session again, traced from now on.
API int edgekit_trace(Session* session, char* error, size_t size) {
  return guarded(error, size, &session->broken, [&] {
    std::lock_guard<std::mutex> lock(loading);
    const auto guard = session->guard();
    session->inputs.clear();
    session->outputs.clear();
    session->unplanned.clear();
    session->module->unload_method("forward");
    check(session->module->load_method("forward", nullptr, &tracer), "its method 'forward' cannot be loaded");
    auto method = session->module->method("forward");
    check(method.error(), "its method 'forward' cannot be loaded");
    session->method = *method;
    prepare(*session);
    return 0;
  });
}

// The events since the last call with clear = 1; they stay where they are until the next run.
API int edgekit_events(const TraceEvent** events) {
  *events = tracer.events.data();
  return static_cast<int>(tracer.events.size());
}

API void edgekit_forget() { tracer.events.clear(); }

// Nanoseconds of one tick, as a ratio.
API double edgekit_tick_ns() {
  const auto ratio = et_pal_ticks_to_ns_multiplier();
  return double(ratio.numerator) / double(ratio.denominator);
}
