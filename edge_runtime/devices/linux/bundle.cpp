#include "bundle.hpp"

#include <dirent.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstring>

#include "json.hpp"

namespace edgekit {

namespace {

constexpr int kFormat = 2;  // the newest format that is read here
constexpr uint64_t kMostManifest = 4194304;
constexpr int64_t kMostFile = int64_t(8) << 30;
constexpr int64_t kMostGolden = int64_t(1) << 30;

bool plain_name(const std::string& name) {
  if (name.empty() || name.size() > 128 || !std::isalnum(static_cast<unsigned char>(name[0]))) return false;
  for (const char c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && !std::strchr("._-", c)) return false;
  }
  return true;
}

// The manifest's own checksum: of all its lines but the one that holds it.
void check_manifest(const std::string& text, const std::string& said) {
  const std::string line = "  \"sha256\": \"" + said + "\",\n";
  const size_t at = text.find("\n" + line);
  if (at == std::string::npos) fail("manifest.json has no line with its own checksum. Pack or copy the bundle again");
  const std::string rest = text.substr(0, at + 1) + text.substr(at + 1 + line.size());
  if (sha256(rest.data(), rest.size()) != said) {
    fail("manifest.json was changed: its checksum is another one. Pack or copy the bundle again");
  }
}

std::vector<TensorSpec> tensors(const Json& list, bool with_holds, int64_t* batch_most) {
  std::vector<TensorSpec> out;
  for (const Json& item : list.list()) {
    TensorSpec spec{item.at("name").text(), "", with_holds ? item.at("holds").text() : "", {}};
    spec.dtype = item.at("dtype").choice({"uint8", "int8", "int32", "int64", "float16", "float32"});
    for (const Json& length : item.at("shape").list()) spec.shape.push_back(length.whole(1, 16777216));
    if (spec.shape.empty() || spec.shape.size() > 16) fail("manifest.json: %s has no shape", shown(spec.name).c_str());
    if (item.has("batch")) {
      *batch_most = item.at("batch").at("max").whole(1, 16777216);
      if (item.at("batch").at("min").whole(1, 16777216) > 1) {
        fail("the program runs no single sample, and this runner gives it one at a time. Pack it with a batch of 1");
      }
      spec.shape[0] = 1;
    }
    out.push_back(spec);
  }
  if (out.empty()) fail("manifest.json: a program has no inputs or no outputs");
  return out;
}

std::optional<double> number_or_null(const Json& value) {
  return value.is_null() ? std::nullopt : std::optional<double>(value.number());
}

PictureSpec picture_of(const Json& json, const TensorSpec& input) {
  PictureSpec spec;
  json.at("kind").choice({"image"});
  spec.mode = json.at("mode").choice({"L", "RGB"});
  spec.resize = json.at("resize").choice({"stretch", "resize_crop", "resize_center_crop"});
  spec.interpolation = json.at("interpolation").choice({"nearest", "bilinear", "bicubic"});
  spec.dtype = json.at("dtype").choice({"uint8", "float32"});
  spec.height = int(json.at("height").whole(1, 8192));
  spec.width = int(json.at("width").whole(1, 8192));
  spec.resize_to = int(json.at("resize_to").whole(1, 8192));
  spec.mean = json.at("mean").all_numbers();
  spec.std = json.at("std").all_numbers();
  const bool raw = spec.dtype == "uint8";
  json.at("layout").choice({raw ? "NHWC" : "NCHW"});
  const size_t levels = raw ? 0 : size_t(spec.channels());
  const std::vector<int64_t> shape = raw ? std::vector<int64_t>{1, spec.height, spec.width, spec.channels()}
                                         : std::vector<int64_t>{1, spec.channels(), spec.height, spec.width};
  if (spec.mean.size() != levels || spec.std.size() != levels || input.dtype != spec.dtype || input.shape != shape) {
    fail("manifest.json: preprocessing does not fit the program's first input. Pack the bundle again");
  }
  return spec;
}

// A file of the bundle: its size, then its hash, as the manifest says.
std::string checked_file(const std::string& folder, const Json& entry, int64_t most) {
  const std::string name = entry.at("file").text();
  if (!plain_name(name)) fail("manifest.json names a file %s, which is no plain name", shown(name).c_str());
  const std::string path = folder + "/" + name;
  struct stat about;
  if (lstat(path.c_str(), &about) || !S_ISREG(about.st_mode)) {
    fail("%s is missing, or is no regular file. Copy the whole bundle again", shown(path).c_str());
  }
  const int64_t bytes = entry.at("bytes").whole(0, most);
  if (about.st_size != bytes) {
    fail("%s has %lld bytes, and the manifest says %lld. Copy the bundle again", shown(path).c_str(),
         (long long)about.st_size, (long long)bytes);
  }
  if (sha256_of_file(path) != entry.at("sha256").text()) {
    fail("%s was changed: its SHA-256 is not the one in the manifest. Copy the bundle again", shown(path).c_str());
  }
  return path;
}

// Engines read neighbours of a model file (ONNX keeps large weights that way), and no checksum covers those.
void check_nothing_else(const Bundle& bundle) {
  DIR* folder = opendir(bundle.folder.c_str());
  if (!folder) fail("%s cannot be read", shown(bundle.folder).c_str());
  std::string other;
  while (const dirent* entry = readdir(folder)) {
    const std::string name = entry->d_name, path = bundle.folder + "/" + name;
    if (name != "." && name != ".." && name != "manifest.json" && name != "model.sig" && path != bundle.model_path &&
        path != bundle.golden_path) other = name;
  }
  closedir(folder);
  if (!other.empty()) fail("%s holds %s, which is not of the bundle. Remove it", shown(bundle.folder).c_str(),
                           shown(other).c_str());
}

}  // namespace

Bundle open_bundle(const std::string& folder) {
  Bundle bundle;
  bundle.folder = folder.size() > 1 && folder.back() == '/' ? folder.substr(0, folder.size() - 1) : folder;
  struct stat about;
  if (stat(bundle.folder.c_str(), &about)) fail("there is no bundle %s. Check the path", shown(folder).c_str());
  if (!S_ISDIR(about.st_mode)) {
    fail("%s is not a folder. Give a bundle's folder; a .zip has to be unpacked first", shown(folder).c_str());
  }
  const Bytes raw = read_file(bundle.folder + "/manifest.json", kMostManifest);
  const std::string text(raw.begin(), raw.end());
  const Json manifest = Json::parse(text);
  const int64_t format = manifest.at("format_version").whole(1, 1 << 30);
  if (format != kFormat) {
    fail("%s is in format %lld, and this runner reads format %d. Make the runner with the edgekit that packed it",
         shown(folder).c_str(), (long long)format, kFormat);
  }
  check_manifest(text, manifest.at("sha256").text());
  bundle.manifest_sha256 = sha256(raw.data(), raw.size());
  bundle.name = manifest.at("name").text();
  bundle.model = manifest.at("model").text();
  bundle.task = manifest.at("task").text();
  bundle.status = manifest.at("status").text();
  bundle.labels = manifest.at("labels").texts();
  if (manifest.at("programs").list().size() != 1) {
    fail("%s holds %zu programs, and this runner runs one. Give a bundle of one program", shown(folder).c_str(),
         manifest.at("programs").list().size());
  }
  const Json& program = manifest.at("programs").list()[0];
  const Json& artifact = program.at("artifact");
  const Json& golden = program.at("golden");
  bundle.program = program.at("name").text();
  bundle.format = artifact.at("format").text();
  int64_t most = 1;
  bundle.inputs = tensors(program.at("inputs"), false, &most);
  bundle.outputs = tensors(program.at("outputs"), true, &most);
  bundle.batch_most = most;
  golden.at("replay").choice({"by_output"});
  bundle.samples = golden.at("samples").whole(1, int64_t(1) << 40);
  for (const TensorSpec& output : bundle.outputs) {
    const Json& floor = golden.at("floors").at(output.name);
    bundle.floors[output.name] = {number_or_null(floor.at("sqnr_db")), number_or_null(floor.at("agreement")),
                                  number_or_null(floor.at("max_abs"))};
  }
  for (const auto& [engine, version] : program.at("requires").fields()) bundle.requires_[engine] = version.text();
  for (const Json& engine : program.at("engines").list()) {
    bundle.engines.push_back(engine.at("name").text() + "-" + engine.at("precision").text());
  }
  if (!manifest.at("preprocessing").is_null()) {
    bundle.picture = picture_of(manifest.at("preprocessing"), bundle.inputs[0]);
  }
  bundle.model_path = checked_file(bundle.folder, artifact, kMostFile);
  bundle.golden_path = checked_file(bundle.folder, golden, kMostGolden);
  check_nothing_else(bundle);
  return bundle;
}

bool at_least(const std::string& found, const std::string& needed) {
  const char* a = found.c_str();
  const char* b = needed.c_str();
  while (*b) {
    char *after_a, *after_b;
    const long x = std::strtol(a, &after_a, 10), y = std::strtol(b, &after_b, 10);
    if (after_b == b) return true;  // what follows is no number, such as "rc1"
    if (x != y) return x > y;
    a = *after_a == '.' ? after_a + 1 : after_a;
    b = *after_b == '.' ? after_b + 1 : after_b;
  }
  return true;
}

}  // namespace edgekit
