// Runs a program again and again and times it, and reads what the machine was doing meanwhile. Judges nothing.
#pragma once

#include "engine.hpp"

namespace edgekit {

struct Settings {
  int rounds = 5, round_ms = 60, min_samples = 100, warmup_rounds = 12, num_threads = 1;
};

struct Reading {  // the counters at one moment; NAN for each that the machine hides
  double at_s, own_cpu_s, busy_cpu_s, steal_s, waiting_s, swapped_pages, throttled, quota_stops, fastest_core_khz,
      hottest_c, load_1min;
};

struct Measurement {
  std::vector<std::vector<int64_t>> wall_ns, cpu_ns;  // of each run, by round
  std::vector<Reading> readings;                      // one before the first round and one after each
  double percentile_ms(double q) const;
  size_t runs() const;
};

// The golden inputs take turns.
Measurement measure(Engine& engine, const std::vector<std::vector<Array>>& samples, const Settings& settings);

std::string readings_json(const Measurement& measurement);  // with what does not change: cores, governor, battery
std::string rounds_json(const std::vector<std::vector<int64_t>>& rounds);
std::string machine_json();   // "processor", "system", "cores"
int64_t peak_rss_bytes();
double now_s();               // on a steady clock

}  // namespace edgekit
