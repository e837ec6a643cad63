// How close answers are to the float model's, and what they mean. Everything is computed in doubles.
#pragma once

#include "bundle.hpp"

namespace edgekit {

struct Closeness {
  double sqnr_db, agreement, max_abs;
  bool holds(const Floor& floor) const;
};

// Two arrays (N, …) of one output that holds `holds`.
Closeness compare(const Array& reference, const Array& answer, const std::string& holds);

// A sample's answer, a line for each label or number, the most probable first. `outputs` have one row.
std::vector<std::string> answer_lines(const Bundle& bundle, const std::vector<Array>& outputs);

}  // namespace edgekit
