#include "measure.hpp"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>

#include "json.hpp"

namespace edgekit {

namespace {

const char kCpus[] = "/sys/devices/system/cpu";

int64_t clock_ns(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return int64_t(time.tv_sec) * 1000000000 + time.tv_nsec;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  if (file) text << file.rdbuf();
  std::string out = text.str();
  while (!out.empty() && (std::isspace(static_cast<unsigned char>(out.back())) || !out.back())) out.pop_back();
  return out;
}

// What follows `name` in a file of lines "name number" or "name=number"; NAN where it is not there.
double number_after(const std::string& path, const std::string& name) {
  const std::string text = "\n" + text_of(path);
  const size_t at = text.find(name);
  return at == std::string::npos ? NAN : std::atof(text.c_str() + at + name.size());
}

// The texts of FOLDER/PREFIX…/FILE.
std::vector<std::string> texts_of(const std::string& folder, const std::string& prefix, const std::string& file) {
  std::vector<std::string> out;
  DIR* open = opendir(folder.c_str());
  while (const dirent* entry = open ? readdir(open) : nullptr) {
    const std::string name = entry->d_name;
    if (name.compare(0, prefix.size(), prefix)) continue;
    if (const std::string text = text_of(folder + "/" + name + "/" + file); !text.empty()) out.push_back(text);
  }
  if (open) closedir(open);
  return out;
}

double most(const std::vector<std::string>& texts) {
  double out = NAN;
  for (const auto& text : texts) out = std::fmax(out, std::atof(text.c_str()));
  return out;
}

Reading read_counters() {
  Reading now{now_s(), double(clock_ns(CLOCK_PROCESS_CPUTIME_ID)) / 1e9, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
  const double ticks = double(sysconf(_SC_CLK_TCK));
  std::istringstream stat(text_of("/proc/stat"));
  std::string cpu;
  double user, nice, system, idle, iowait, irq, softirq, steal;
  if (stat >> cpu >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal && cpu == "cpu") {
    now.busy_cpu_s = (user + nice + system + irq + softirq) / ticks;
    now.steal_s = steal / ticks;
  }
  now.waiting_s = number_after("/proc/pressure/cpu", "total=") / 1e6;
  now.swapped_pages = number_after("/proc/vmstat", "\npswpin ") + number_after("/proc/vmstat", "\npswpout ");
  now.quota_stops = number_after("/sys/fs/cgroup/cpu.stat", "\nnr_throttled ");
  now.fastest_core_khz = most(texts_of(kCpus, "cpu", "cpufreq/scaling_cur_freq"));
  double throttled = 0;
  const auto stops = texts_of(kCpus, "cpu", "thermal_throttle/core_throttle_count");
  for (const auto& text : stops) throttled += std::atof(text.c_str());
  if (!stops.empty()) now.throttled = throttled;
  now.hottest_c = most(texts_of("/sys/class/thermal", "thermal_zone", "temp")) / 1000;
  const std::string load = text_of("/proc/loadavg");
  if (!load.empty()) now.load_1min = std::atof(load.c_str());
  return now;
}

std::string number_or_null(double value, bool whole = false) {
  return std::isnan(value) ? "null" : whole ? std::to_string(int64_t(value)) : number_text(value);
}

}  // namespace

double now_s() { return double(clock_ns(CLOCK_MONOTONIC)) / 1e9; }

Measurement measure(Engine& engine, const std::vector<std::vector<Array>>& samples, const Settings& settings) {
  Measurement out;
  std::vector<Array> answers;
  size_t next = 0;
  const auto turn = [&](int64_t for_ns, size_t at_least, std::vector<int64_t>& wall, std::vector<int64_t>& cpu) {
    const int64_t end = clock_ns(CLOCK_MONOTONIC) + for_ns;
    while (wall.size() < at_least || clock_ns(CLOCK_MONOTONIC) < end) {
      const int64_t cpu_start = clock_ns(CLOCK_PROCESS_CPUTIME_ID), start = clock_ns(CLOCK_MONOTONIC);
      engine.run(samples[next++ % samples.size()], answers);
      wall.push_back(clock_ns(CLOCK_MONOTONIC) - start);
      cpu.push_back(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_start);
    }
  };
  double last = INFINITY;  // half turns, while it is still getting faster
  for (int i = 0; i < settings.warmup_rounds; ++i) {
    std::vector<int64_t> wall, cpu;
    turn(int64_t(settings.round_ms) * 500000, 1, wall, cpu);
    std::nth_element(wall.begin(), wall.begin() + long(wall.size() / 2), wall.end());
    const double median = double(wall[wall.size() / 2]);
    if (median > 0.98 * last) break;
    last = median;
  }
  const size_t each = size_t((settings.min_samples + settings.rounds - 1) / settings.rounds);
  next = 0;
  out.readings.push_back(read_counters());
  for (int i = 0; i < settings.rounds; ++i) {
    out.wall_ns.emplace_back();
    out.cpu_ns.emplace_back();
    turn(int64_t(settings.round_ms) * 1000000, each, out.wall_ns.back(), out.cpu_ns.back());
    out.readings.push_back(read_counters());
  }
  return out;
}

size_t Measurement::runs() const {
  size_t count = 0;
  for (const auto& round : wall_ns) count += round.size();
  return count;
}

double Measurement::percentile_ms(double q) const {
  std::vector<int64_t> all;
  for (const auto& round : wall_ns) all.insert(all.end(), round.begin(), round.end());
  std::sort(all.begin(), all.end());
  const double at = q / 100 * double(all.size() - 1);  // between two samples in proportion, as numpy does
  const size_t low = size_t(at), high = std::min(low + 1, all.size() - 1);
  return (double(all[low]) + (at - double(low)) * double(all[high] - all[low])) / 1e6;
}

std::string rounds_json(const std::vector<std::vector<int64_t>>& rounds) {
  std::string out = "[";
  for (const auto& round : rounds) {
    out += out.size() > 1 ? ",[" : "[";
    for (size_t i = 0; i < round.size(); ++i) out += (i ? "," : "") + std::to_string(round[i]);
    out += "]";
  }
  return out + "]";
}

std::string readings_json(const Measurement& measurement) {
  std::string readings, governors;
  for (const Reading& one : measurement.readings) {
    readings += (readings.empty() ? "{" : ",{") + ("\"at_s\":" + number_text(one.at_s)) +
                ",\"own_cpu_s\":" + number_text(one.own_cpu_s) + ",\"busy_cpu_s\":" + number_or_null(one.busy_cpu_s) +
                ",\"steal_s\":" + number_or_null(one.steal_s) + ",\"waiting_s\":" + number_or_null(one.waiting_s) +
                ",\"swapped_pages\":" + number_or_null(one.swapped_pages, true) +
                ",\"throttled\":" + number_or_null(one.throttled, true) +
                ",\"quota_stops\":" + number_or_null(one.quota_stops, true) +
                ",\"fastest_core_khz\":" + number_or_null(one.fastest_core_khz, true) +
                ",\"hottest_c\":" + number_or_null(one.hottest_c) + ",\"load_1min\":" + number_or_null(one.load_1min) + "}";
  }
  const auto each = texts_of(kCpus, "cpu", "cpufreq/scaling_governor");
  for (const auto& name : std::set<std::string>(each.begin(), each.end())) governors += (governors.empty() ? "" : " ") + name;
  const auto batteries = texts_of("/sys/class/power_supply", "BAT", "status");
  const bool discharging = std::find(batteries.begin(), batteries.end(), "Discharging") != batteries.end();
  return "{\"cores\":" + std::to_string(sysconf(_SC_NPROCESSORS_ONLN)) + ",\"governor\":" + quoted(governors) +
         ",\"on_battery\":" + (batteries.empty() ? "null" : discharging ? "true" : "false") + ",\"readings\":[" + readings + "]}";
}

std::string machine_json() {
  utsname about;
  uname(&about);
  std::string processor = text_of("/sys/firmware/devicetree/base/model");  // a board's name
  std::ifstream cpus("/proc/cpuinfo");
  for (std::string line; processor.empty() && std::getline(cpus, line);) {
    if (!line.compare(0, 10, "model name") && line.find(": ") != std::string::npos) processor = line.substr(line.find(": ") + 2);
  }
  if (processor.empty()) processor = about.machine;
  return "{\"processor\":" + quoted(processor) + ",\"system\":" +
         quoted(std::string(about.sysname) + " " + about.release + " " + about.machine) +
         ",\"cores\":" + std::to_string(sysconf(_SC_NPROCESSORS_ONLN)) + "}";
}

int64_t peak_rss_bytes() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return int64_t(usage.ru_maxrss) * 1024;
}

}  // namespace edgekit
