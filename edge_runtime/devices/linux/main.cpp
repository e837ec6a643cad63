// edgekit-run: opens a bundle, checks it, and answers a picture, an array or a row, or replays the golden samples.
#include <time.h>

#include <cstdio>
#include <cstring>

#include "compare.hpp"
#include "json.hpp"
#include "measure.hpp"
#include "picture.hpp"

namespace edgekit {

const char kUsage[] =
    "usage: edgekit-run BUNDLE PICTURE [--invert]      a picture's answer\n"
    "       edgekit-run BUNDLE ARRAY.npy…              an array for each input, batch axis first\n"
    "       edgekit-run BUNDLE --row 1,2.5,3           numbers for the first input\n"
    "       edgekit-run BUNDLE --self-test             replays the golden samples, and times them\n"
    "options: --threads N, --json, --out FILE.npy (the first output), --input-to FILE.npy (what it would be given),\n"
    "         of the self-test: --rounds N, --round-ms N, --min-samples N, --raw (every time and reading)\n";

struct Request {
  std::string bundle, row, out, input_to;
  std::vector<std::string> files;
  bool self_test = false, json = false, invert = false, raw = false;
  Settings settings;
};

struct Usage : Failure {
  using Failure::Failure;
};

Request request_of(int count, char** words) {
  Request request;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == count) throw Usage(word + " needs a value");
      return words[++i];
    };
    const auto number = [&]() -> int {
      const int found = std::atoi(value().c_str());
      if (found < 1 || found > 1000000) throw Usage(word + " takes a whole number from 1 on");
      return found;
    };
    if (word == "--self-test") request.self_test = true;
    else if (word == "--json") request.json = true;
    else if (word == "--invert") request.invert = true;
    else if (word == "--raw") request.raw = true;
    else if (word == "--row") request.row = value();
    else if (word == "--out") request.out = value();
    else if (word == "--input-to") request.input_to = value();
    else if (word == "--threads") request.settings.num_threads = number();
    else if (word == "--rounds") request.settings.rounds = number();
    else if (word == "--round-ms") request.settings.round_ms = number();
    else if (word == "--min-samples") request.settings.min_samples = number();
    else if (word.size() > 1 && word[0] == '-') throw Usage("there is no option " + shown(word));
    else if (request.bundle.empty()) request.bundle = word;
    else request.files.push_back(word);
  }
  if (request.bundle.empty()) throw Usage("no bundle was given");
  if (!request.self_test && request.files.empty() == request.row.empty()) {
    throw Usage("give a picture, arrays, --row or --self-test");
  }
  return request;
}

Array row_of(const std::string& text, const TensorSpec& spec) {
  Array array{spec.dtype, spec.shape, {}};
  const char* at = text.c_str();
  const auto add = [&](auto number) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&number);
    array.data.insert(array.data.end(), bytes, bytes + sizeof number);
  };
  while (*at) {
    char* stop = nullptr;
    const double number = std::strtod(at, &stop);
    if (stop == at || (*stop && *stop != ',')) fail("--row takes numbers with commas between, found %s", shown(at, 40).c_str());
    if (spec.dtype == "float32") add(float(number));
    else if (spec.dtype == "int64") add(int64_t(number));
    else if (spec.dtype == "int32") add(int32_t(number));
    else fail("--row makes float32, int32 or int64, and the input is %s. Give an .npy file", spec.dtype.c_str());
    at = *stop ? stop + 1 : stop;
  }
  const size_t wanted = elements(spec.shape), found = array.data.size() / item_bytes(spec.dtype);
  if (found != wanted) fail("the input %s takes %zu numbers, found %zu", spec.name.c_str(), wanted, found);
  return array;
}

std::vector<Array> inputs_of(const Bundle& bundle, const Request& request) {
  if (!request.row.empty()) return {row_of(request.row, bundle.inputs[0])};
  const std::string& first = request.files[0];
  const bool arrays = first.size() > 4 && !first.compare(first.size() - 4, 4, ".npy");
  if (!arrays) {
    if (!bundle.picture) fail("%s takes no pictures. Give an .npy file for each input, or --row", bundle.name.c_str());
    return {picture_input(decode_picture(first), *bundle.picture, request.invert)};
  }
  std::vector<Array> inputs;
  for (const auto& file : request.files) inputs.push_back(read_npy(read_file(file, uint64_t(1) << 32), file));
  return inputs;
}

int answer(const Bundle& bundle, const Request& request) {
  const std::vector<Array> inputs = inputs_of(bundle, request);
  if (inputs.size() != bundle.inputs.size()) {
    fail("%s takes %zu inputs, found %zu", bundle.name.c_str(), bundle.inputs.size(), inputs.size());
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorSpec& spec = bundle.inputs[i];
    if (inputs[i].dtype != spec.dtype || inputs[i].shape != spec.shape) {
      fail("the input %s is %s %s, found %s %s", spec.name.c_str(), spec.dtype.c_str(), shape_text(spec.shape).c_str(),
           inputs[i].dtype.c_str(), shape_text(inputs[i].shape).c_str());
    }
  }
  if (!request.input_to.empty()) return write_npy(request.input_to, inputs[0]), 0;
  std::vector<Array> outputs;
  open_engine(bundle, request.settings.num_threads)->run(inputs, outputs);
  if (!request.out.empty()) write_npy(request.out, outputs[0]);
  if (!request.json) {
    if (!request.out.empty()) return 0;
    for (const auto& line : answer_lines(bundle, outputs)) std::printf("%s\n", line.c_str());
    return 0;
  }
  std::string text;
  for (size_t i = 0; i < outputs.size(); ++i) {
    std::string list;
    for (const double x : numbers(outputs[i])) list += (list.empty() ? "" : ", ") + number_text(x);
    text += (i ? ", " : "") + quoted(bundle.outputs[i].name) + ": [" + list + "]";
  }
  std::printf("{%s}\n", text.c_str());
  return 0;
}

struct OutputResult {
  std::string output;
  Closeness closeness;
  double since_packed;
  bool packed, passed;
};

// One sample at a time, then in the largest batch where it is free, held to the same floors against the single ones.
std::vector<OutputResult> replay(const Bundle& bundle, std::map<std::string, Array>& golden, Engine& engine,
                                 const std::vector<std::vector<Array>>& samples) {
  const size_t count = size_t(bundle.samples), batch = size_t(std::min(bundle.batch_most, bundle.samples));
  std::vector<Array> single, together, part;
  const auto gather = [&](std::vector<Array>& all) {
    if (all.empty()) {
      for (const Array& one : part) all.push_back({one.dtype, one.shape, {}}), all.back().shape[0] = 0;
    }
    for (size_t i = 0; i < part.size(); ++i) {
      all[i].shape[0] += part[i].shape[0];
      all[i].data.insert(all[i].data.end(), part[i].data.begin(), part[i].data.end());
    }
  };
  for (const auto& sample : samples) engine.run(sample, part), gather(single);
  for (size_t first = 0; batch > 1 && first < count; first += batch) {
    std::vector<Array> inputs;
    for (const auto& spec : bundle.inputs) {
      inputs.push_back(rows_of(golden["inputs/" + spec.name], first, std::min(batch, count - first)));
    }
    engine.run(inputs, part), gather(together);
  }
  std::vector<OutputResult> results;
  for (size_t i = 0; i < bundle.outputs.size(); ++i) {
    const TensorSpec& spec = bundle.outputs[i];
    const Floor& floor = bundle.floors.at(spec.name);
    OutputResult result{spec.name, compare(golden["outputs/" + spec.name], single[i], spec.holds), 0, false, false};
    result.passed = result.closeness.holds(floor);
    if (batch > 1) result.passed = compare(single[i], together[i], spec.holds).holds(floor) && result.passed;
    for (const auto& key : bundle.engines) {
      if (key.compare(0, engine.name.size() + 1, engine.name + "-") || result.packed) continue;
      result.packed = true;
      result.since_packed = compare(golden["packed/" + key + "/" + spec.name], single[i], spec.holds).max_abs;
    }
    results.push_back(result);
  }
  return results;
}

int self_test(const Bundle& bundle, const Request& request) {
  auto golden = read_golden(bundle);
  const double start = now_s();
  const auto engine = open_engine(bundle, request.settings.num_threads);
  const double load_ms = (now_s() - start) * 1000;
  std::vector<std::vector<Array>> samples;
  for (size_t i = 0; i < size_t(bundle.samples); ++i) {
    samples.emplace_back();
    for (const auto& spec : bundle.inputs) samples.back().push_back(rows_of(golden["inputs/" + spec.name], i, 1));
  }
  const auto results = replay(bundle, golden, *engine, samples);
  const Measurement measured = measure(*engine, samples, request.settings);
  bool passed = true;
  std::string lines, missed;
  for (const auto& one : results) {
    passed = passed && one.passed;
    if (!one.passed) missed += (missed.empty() ? "" : ", ") + one.output;
    lines += (lines.empty() ? "" : ", ") + ("{\"program\":" + quoted(bundle.program)) + ",\"output\":" + quoted(one.output) +
             ",\"engine\":" + quoted(engine->name + " " + engine->version) + ",\"samples\":" +
             std::to_string(bundle.samples) + ",\"sqnr_db\":" + number_text(one.closeness.sqnr_db) + ",\"agreement\":" +
             number_text(one.closeness.agreement) + ",\"max_abs\":" + number_text(one.closeness.max_abs) +
             ",\"max_abs_since_packed\":" + (one.packed ? number_text(one.since_packed) : "null") +
             ",\"passed\":" + (one.passed ? "true" : "false") + "}";
    if (!request.json) {
      std::printf("%s %s: SQNR %.1f dB, agreement %.1f %%, max |Δ| %.3g\n", one.passed ? "passed" : "MISSED",
                  one.output.c_str(), one.closeness.sqnr_db, 100 * one.closeness.agreement, one.closeness.max_abs);
    }
  }
  char when[32];
  const time_t now = time(nullptr);
  strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
  if (request.json) {
    std::printf("{\"self_test_version\":1,\"bundle\":%s,\"manifest_sha256\":%s,\"when\":%s,\"device\":%s,\"machine\":%s,"
                "\"engine\":%s,\"num_threads\":%d,\"load_ms\":%s,\"peak_rss_bytes\":%lld,\"latency\":{\"runs\":%zu,"
                "\"median_ms\":%s,\"p10_ms\":%s,\"p90_ms\":%s},\"results\":[%s],\"passed\":%s",
                quoted(bundle.name).c_str(), quoted(bundle.manifest_sha256).c_str(), quoted(when).c_str(),
                quoted(EDGEKIT_DEVICE).c_str(), machine_json().c_str(),
                quoted(engine->name + " " + engine->version).c_str(), request.settings.num_threads,
                number_text(load_ms).c_str(), (long long)peak_rss_bytes(), measured.runs(),
                number_text(measured.percentile_ms(50)).c_str(), number_text(measured.percentile_ms(10)).c_str(),
                number_text(measured.percentile_ms(90)).c_str(), lines.c_str(), passed ? "true" : "false");
    if (request.raw) {
      std::printf(",\"inputs\":%zu,\"rounds_wall_ns\":%s,\"rounds_cpu_ns\":%s,\"state\":%s", samples.size(),
                  rounds_json(measured.wall_ns).c_str(), rounds_json(measured.cpu_ns).c_str(),
                  readings_json(measured).c_str());
    }
    std::printf("}\n");
  } else {
    std::printf("%.4g ms, the median of %zu runs with %d thread%s; %s %s\n", measured.percentile_ms(50), measured.runs(),
                request.settings.num_threads, request.settings.num_threads > 1 ? "s" : "", engine->name.c_str(),
                engine->version.c_str());
  }
  if (!passed) {
    fail("%s does not give its golden answers here: %s missed its floor. Do not use it on this device", bundle.name.c_str(),
         missed.c_str());
  }
  return 0;
}

}  // namespace edgekit

int main(int count, char** words) {
  using namespace edgekit;
  try {
    const Request request = request_of(count, words);
    const Bundle bundle = open_bundle(request.bundle);
    if (bundle.status != "verified") {
      std::fprintf(stderr, "%s is %s: see docs/BUNDLE.md, Status\n", shown(bundle.name).c_str(), shown(bundle.status).c_str());
    }
    return request.self_test ? self_test(bundle, request) : answer(bundle, request);
  } catch (const Usage& usage) {
    std::fprintf(stderr, "edgekit-run: %s\n%s", usage.what(), kUsage);
    return 2;
  } catch (const std::exception& failure) {
    std::fflush(stdout);
    std::fprintf(stderr, "edgekit-run: %s\n", failure.what());
    return 1;
  }
}
