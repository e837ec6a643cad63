// A strict reader of JSON, and a writer of texts. Each value knows where it stands, so that an error names the field.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common.hpp"

namespace edgekit {

class Json {
 public:
  // `text` is UTF-8 JSON, nested at most 16 deep. Fails on anything else.
  static Json parse(const std::string& text);

  bool has(const std::string& name) const { return kind_ == Object && fields_.count(name); }
  bool is_null() const { return kind_ == Null; }
  const Json& at(const std::string& name) const;             // of an object
  const std::vector<Json>& list() const;
  const std::map<std::string, Json>& fields() const;
  const std::string& text() const;
  double number() const;
  int64_t whole(int64_t least, int64_t most) const;
  std::string choice(const std::vector<std::string>& known) const;  // a text that is one of these
  std::vector<std::string> texts() const;
  std::vector<double> all_numbers() const;

 private:
  friend struct JsonReader;
  enum Kind { Null, Bool, Number, Text, List, Object };
  [[noreturn]] void wrong(const char* wanted) const;

  Kind kind_ = Null;
  bool is_whole_ = false;
  double number_ = 0;
  std::string text_, where_;
  std::vector<Json> list_;
  std::map<std::string, Json> fields_;
};

std::string quoted(const std::string& text);  // as JSON
std::string number_text(double value);        // as JSON, which has no infinity: the largest double stands for it

}  // namespace edgekit
