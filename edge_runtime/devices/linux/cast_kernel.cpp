// The one operator that most picture models have outside XNNPACK: whole numbers to floats, and back. With it `--minimal`
// leaves out ExecuTorch's library of all kernels, which is several times as large as everything else together.
#include <executorch/runtime/core/exec_aten/util/tensor_util.h>
#include <executorch/runtime/kernel/kernel_includes.h>
#include <executorch/runtime/kernel/operator_registry.h>

namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::Kernel;
using executorch::runtime::KernelRuntimeContext;
using executorch::runtime::Span;

template <typename From, typename To>
void cast(const Tensor& from, Tensor& to) {
  const auto sizes = from.sizes(), in = from.strides(), out = to.strides();
  const From* source = from.const_data_ptr<From>();
  To* target = to.mutable_data_ptr<To>();
  if (std::equal(in.begin(), in.end(), out.begin())) {  // the same order in memory
    for (ssize_t i = 0; i < from.numel(); ++i) target[i] = static_cast<To>(source[i]);
    return;
  }
  for (ssize_t i = 0; i < from.numel(); ++i) {
    ssize_t rest = i, at = 0, to_at = 0;
    for (ssize_t axis = from.dim(); axis-- > 0; rest /= sizes[axis]) {
      at += rest % sizes[axis] * in[axis];
      to_at += rest % sizes[axis] * out[axis];
    }
    target[to_at] = static_cast<To>(source[at]);
  }
}

template <typename From>
bool cast_from(const Tensor& from, Tensor& to) {
  switch (to.scalar_type()) {
    case ScalarType::Float: return cast<From, float>(from, to), true;
    case ScalarType::Byte: return cast<From, uint8_t>(from, to), true;
    case ScalarType::Int: return cast<From, int32_t>(from, to), true;
    case ScalarType::Long: return cast<From, int64_t>(from, to), true;
    default: return false;
  }
}

// (Tensor self, bool non_blocking, int[]? dim_order, Tensor(a!) out) -> Tensor(a!)
void to_dim_order_copy(KernelRuntimeContext& context, Span<EValue*> stack) {
  const Tensor& from = stack[0]->toTensor();
  Tensor& to = stack[3]->toTensor();
  if (executorch::runtime::resize_tensor(to, from.sizes()) != Error::Ok) return context.fail(Error::InvalidArgument);
  bool done = false;
  switch (from.scalar_type()) {
    case ScalarType::Byte: done = cast_from<uint8_t>(from, to); break;
    case ScalarType::Char: done = cast_from<int8_t>(from, to); break;
    case ScalarType::Bool: done = cast_from<bool>(from, to); break;
    case ScalarType::Int: done = cast_from<int32_t>(from, to); break;
    case ScalarType::Long: done = cast_from<int64_t>(from, to); break;
    case ScalarType::Float: done = cast_from<float>(from, to); break;
    default: break;
  }
  if (!done) context.fail(Error::NotSupported);
}

const Kernel kernel("dim_order_ops::_to_dim_order_copy.out", to_dim_order_copy);
const Error registered = executorch::runtime::register_kernel(kernel);

}  // namespace
