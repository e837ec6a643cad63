#include "compare.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace edgekit {

namespace {

using Numbers = std::vector<double>;

constexpr double kMostDb = 200, kRounding = 1e-6;

double decibels(double signal, double noise) {
  if (noise == 0) return kMostDb;
  if (signal == 0) return -kMostDb;
  return std::clamp(10 * (std::log10(signal) - std::log10(noise)), -kMostDb, kMostDb);
}

double largest(const Numbers& numbers) {
  double most = 0;
  for (const double x : numbers) most = std::max(most, std::fabs(x));
  return most;
}

// The ratio of what varies between samples to the difference; `width` numbers of each sample.
double sqnr(const Numbers& wanted, const Numbers& got, size_t width) {
  const double scale = std::max(largest(wanted), largest(got)), own = largest(wanted);
  if (scale == 0) return kMostDb;
  const size_t rows = wanted.size() / width;
  bool varies = false;
  Numbers mean(width);
  for (size_t i = 0; i < width; ++i) {
    double low = wanted[i], high = wanted[i], sum = 0;
    for (size_t row = 0; row < rows; ++row) {
      const double x = wanted[row * width + i];
      low = std::min(low, x), high = std::max(high, x), sum += x / scale;
    }
    mean[i] = sum / double(rows);
    varies = varies || (rows > 1 && own > 0 && high / own - low / own > kRounding);
  }
  double signal = 0, noise = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double x = wanted[i] / scale, from = varies ? mean[i % width] : 0;
    signal += (x - from) * (x - from);
    noise += (x - got[i] / scale) * (x - got[i] / scale);
  }
  return decibels(signal, noise);
}

// Where the largest along an axis of `length` places, `stride` apart, is; -1 where one is NaN.
long top(const double* first, size_t length, size_t stride) {
  long best = 0;
  for (size_t i = 0; i < length; ++i) {
    if (std::isnan(first[i * stride])) return -1;
    if (first[i * stride] > first[size_t(best) * stride]) best = long(i);
  }
  return best;
}

double same_top(const Numbers& wanted, const Numbers& got, size_t length, size_t stride) {
  size_t same = 0, places = 0;
  for (size_t start = 0; start < wanted.size(); start += length * stride) {
    for (size_t i = 0; i < stride; ++i, ++places) {
      const long first = top(&wanted[start + i], length, stride);
      same += first >= 0 && first == top(&got[start + i], length, stride);
    }
  }
  return double(same) / double(places);
}

size_t stride_after(const std::vector<int64_t>& shape, size_t axis) {
  size_t stride = 1;
  for (size_t i = axis + 1; i < shape.size(); ++i) stride *= size_t(shape[i]);
  return stride;
}

double agreement(const Numbers& wanted, const Numbers& got, const Array& array, const std::string& holds) {
  const auto& shape = array.shape;
  if (holds == "token_probabilities") return same_top(wanted, got, size_t(shape.back()), 1);
  if (holds == "probabilities" || holds == "logits" || holds == "log_probabilities") {
    if (shape.size() < 2) fail("an output that holds %s has no axis of labels. Pack the bundle again", holds.c_str());
    return same_top(wanted, got, size_t(shape[1]), stride_after(shape, 1));
  }
  const bool sides = holds == "independent_probabilities" || holds == "independent_logits" || holds == "mask";
  const double threshold = holds == "independent_logits" ? 0 : 0.5;
  double low = DBL_MAX, high = -DBL_MAX;
  for (const double x : wanted) {
    if (std::isfinite(x)) low = std::min(low, x), high = std::max(high, x);
  }
  if (low > high && !sides && holds != "classes") return 0;
  const double allowed = 0.02 * (high > low ? high - low : std::fabs(high));
  size_t same = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (std::isnan(wanted[i]) || std::isnan(got[i])) continue;
    if (sides) same += (wanted[i] >= threshold) == (got[i] >= threshold);
    else if (holds == "classes") same += wanted[i] == got[i];
    else same += std::fabs(wanted[i] - got[i]) <= allowed;
  }
  return double(same) / double(wanted.size());
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * share);
  return text;
}

// One row that holds `holds`, as what its task takes: probabilities where it says so.
Numbers as_probabilities(Numbers row, const std::string& holds, size_t length, size_t stride) {
  for (size_t i = 0; i < stride; ++i) {
    if (holds == "log_probabilities") {
      for (size_t k = 0; k < length; ++k) row[k * stride + i] = std::exp(row[k * stride + i]);
    } else if (holds == "logits") {
      double most = -DBL_MAX, sum = 0;
      for (size_t k = 0; k < length; ++k) most = std::max(most, row[k * stride + i]);
      for (size_t k = 0; k < length; ++k) sum += std::exp(row[k * stride + i] - most);
      for (size_t k = 0; k < length; ++k) row[k * stride + i] = std::exp(row[k * stride + i] - most) / sum;
    }
  }
  return row;
}

}  // namespace

bool Closeness::holds(const Floor& floor) const {
  return (!floor.sqnr_db || sqnr_db >= *floor.sqnr_db) && (!floor.agreement || agreement >= *floor.agreement) &&
         (!floor.max_abs || max_abs <= *floor.max_abs);
}

Closeness compare(const Array& reference, const Array& answer, const std::string& holds) {
  if (reference.shape != answer.shape) {
    fail("the answers have the shape %s where %s was expected. Pack the bundle again", shape_text(answer.shape).c_str(),
         shape_text(reference.shape).c_str());
  }
  const Numbers wanted = numbers(reference), got = numbers(answer);
  bool finite = true;
  double most = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    finite = finite && std::isfinite(wanted[i]) && std::isfinite(got[i]);
    most = std::max(most, std::fabs(wanted[i] - got[i]));
  }
  const size_t width = wanted.size() / reference.rows();
  return {finite ? sqnr(wanted, got, width) : -kMostDb, agreement(wanted, got, reference, holds), finite ? most : DBL_MAX};
}

std::vector<std::string> answer_lines(const Bundle& bundle, const std::vector<Array>& outputs) {
  const TensorSpec& spec = bundle.outputs[0];
  const Array& first = outputs[0];
  Numbers row = numbers(first);
  for (const double x : row) {
    if (std::isnan(x)) fail("the model answered NaN, which is no answer. Try `edgekit-run BUNDLE --self-test`");
  }
  std::vector<std::string> lines;
  const auto label = [&](size_t i, size_t count) {
    return bundle.labels.size() == count ? bundle.labels[i] : "[" + std::to_string(i) + "]";
  };
  const bool alternatives = bundle.task == "classification" || bundle.task == "next_character";
  if (alternatives && first.shape.size() >= 2) {
    const bool tokens = spec.holds == "token_probabilities";
    const size_t axis = tokens ? first.shape.size() - 1 : 1, count = size_t(first.shape[axis]);
    const size_t stride = stride_after(first.shape, axis), places = row.size() / count;
    row = as_probabilities(row, spec.holds, count, stride);
    Numbers shares(count);  // of one place its probabilities; of several the share of places with each label
    for (size_t i = 0; i < places; ++i) {
      if (places > 1) shares[size_t(top(&row[tokens ? i * count : i], count, stride))] += 1.0 / double(places);
    }
    if (places == 1) shares = row;
    std::vector<size_t> order(count);
    for (size_t i = 0; i < count; ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return shares[a] > shares[b]; });
    for (size_t i = 0; i < std::min<size_t>(5, count); ++i) {
      lines.push_back(label(order[i], count) + "  " + percent(std::clamp(shares[order[i]], 0.0, 1.0)));
    }
    return lines;
  }
  if (spec.holds == "independent_logits") {
    for (double& x : row) x = 1 / (1 + std::exp(-x));
  }
  if (bundle.task == "segmentation") {
    const auto above = std::count_if(row.begin(), row.end(), [](double x) { return x >= 0.5; });
    return {(bundle.labels.empty() ? "found" : bundle.labels[0]) + "  " + percent(double(above) / double(row.size())) +
            " of the pixels"};
  }
  if (bundle.task == "detection") fail("this runner does not read a detector's boxes; --self-test compares them all");
  if (row.size() > 64) fail("the model answers with %zu numbers, too many to print; --out FILE.npy writes them", row.size());
  for (size_t i = 0; i < row.size(); ++i) {
    char text[40];
    std::snprintf(text, sizeof text, "%.6g", row[i]);
    lines.push_back(label(i, row.size()) + "  " + (bundle.task == "multi_label" ? percent(row[i]) : text));
  }
  return lines;
}

}  // namespace edgekit
