#include "json.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace edgekit {

constexpr int kMostDepth = 16;

struct JsonReader {
  const char* at;
  const char* end;
  int depth = 0;

  [[noreturn]] void bad(const char* what) const { fail("manifest.json is not valid JSON: %s", what); }

  void space() {
    while (at < end && std::strchr(" \n\r\t", *at) && *at) ++at;
  }

  bool take(char c) {
    space();
    if (at == end || *at != c) return false;
    ++at;
    return true;
  }

  bool word(const char* text) {
    const size_t length = std::strlen(text);
    if (size_t(end - at) < length || std::memcmp(at, text, length)) return false;
    at += length;
    return true;
  }

  std::string string() {
    std::string out;
    while (true) {
      if (at == end || static_cast<unsigned char>(*at) < 0x20) bad("a text has no end");
      const char c = *at++;
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
        continue;
      }
      if (at == end) bad("a text has no end");
      const char escape = *at++;
      static const char kNames[] = "\"\\/nrtbf", kMeanings[] = "\"\\/\n\r\t\b\f";
      const char* found = std::strchr(kNames, escape);
      if (escape == 'u') {  // only control characters are written so
        char digits[5] = {};
        if (end - at < 4) bad("a text has no end");
        std::memcpy(digits, at, 4);
        char* stop = nullptr;
        const long code = std::strtol(digits, &stop, 16);
        if (stop != digits + 4 || code > 0x7f) bad("a character is escaped that needs no escape");
        out += char(code);
        at += 4;
      } else if (escape && found) {
        out += kMeanings[found - kNames];
      } else {
        bad("an unknown escape in a text");
      }
    }
  }

  Json value(const std::string& where) {
    space();
    if (at == end) bad("it ends too early");
    Json made;
    made.where_ = where;
    if (take('"')) {
      made.kind_ = Json::Text;
      made.text_ = string();
    } else if (take('{')) {
      made.kind_ = Json::Object;
      if (++depth > kMostDepth) bad("it is nested more than 16 deep");
      while (!take('}')) {
        if (!made.fields_.empty() && !take(',')) bad("a comma is missing");
        if (!take('"')) bad("a field has no name");
        const std::string name = string();
        if (!take(':')) bad("a colon is missing");
        if (!made.fields_.emplace(name, value(where.empty() ? name : where + "." + name)).second) {
          bad("a field is there twice");
        }
      }
      --depth;
    } else if (take('[')) {
      made.kind_ = Json::List;
      if (++depth > kMostDepth) bad("it is nested more than 16 deep");
      while (!take(']')) {
        if (!made.list_.empty() && !take(',')) bad("a comma is missing");
        made.list_.push_back(value(where + "[" + std::to_string(made.list_.size()) + "]"));
      }
      --depth;
    } else if (word("true") || word("false")) {
      made.kind_ = Json::Bool;
    } else if (!word("null")) {
      number(made);
    }
    return made;
  }

  void number(Json& made) {
    const char* first = at;
    while (at < end && *at && std::strchr("+-.0123456789eE", *at)) ++at;
    made.text_.assign(first, at);
    char* stop = nullptr;
    made.number_ = std::strtod(made.text_.c_str(), &stop);
    if (made.text_.empty() || *stop || !std::isfinite(made.number_)) bad("a value is none");
    made.kind_ = Json::Number;
    made.is_whole_ = made.text_.find_first_of(".eE") == std::string::npos;
  }
};

Json Json::parse(const std::string& text) {
  JsonReader reader{text.data(), text.data() + text.size()};
  Json made = reader.value("");
  reader.space();
  if (reader.at != reader.end) reader.bad("something follows its end");
  return made;
}

void Json::wrong(const char* wanted) const {
  fail("manifest.json: %s should be %s. The bundle is damaged: pack or copy it again", shown(where_).c_str(), wanted);
}

const Json& Json::at(const std::string& name) const {
  if (kind_ != Object) wrong("an object");
  const auto found = fields_.find(name);
  if (found == fields_.end()) {
    fail("manifest.json: %s%s%s is missing. The bundle is damaged: pack or copy it again", shown(where_).c_str(),
         where_.empty() ? "" : ".", name.c_str());
  }
  return found->second;
}

const std::vector<Json>& Json::list() const {
  if (kind_ != List) wrong("a list");
  return list_;
}

const std::map<std::string, Json>& Json::fields() const {
  if (kind_ != Object) wrong("an object");
  return fields_;
}

const std::string& Json::text() const {
  if (kind_ != Text) wrong("a text");
  return text_;
}

double Json::number() const {
  if (kind_ != Number) wrong("a number");
  return number_;
}

int64_t Json::whole(int64_t least, int64_t most) const {
  if (kind_ != Number || !is_whole_ || number_ < double(least) || number_ > double(most)) {
    wrong(("a whole number from " + std::to_string(least) + " to " + std::to_string(most)).c_str());
  }
  return int64_t(number_);
}

std::string Json::choice(const std::vector<std::string>& known) const {
  if (std::find(known.begin(), known.end(), text()) == known.end()) {
    std::string names;
    for (const auto& name : known) names += (names.empty() ? "" : ", ") + name;
    fail("manifest.json: %s is %s, which this runner does not know. Known: %s", shown(where_).c_str(),
         shown(text_).c_str(), names.c_str());
  }
  return text_;
}

std::vector<std::string> Json::texts() const {
  std::vector<std::string> out;
  for (const Json& item : list()) out.push_back(item.text());
  return out;
}

std::vector<double> Json::all_numbers() const {
  std::vector<double> out;
  for (const Json& item : list()) out.push_back(item.number());
  return out;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  char escape[8];
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      out += escape;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string number_text(double value) {
  if (std::isnan(value) || value > DBL_MAX) value = DBL_MAX;
  char text[40];
  for (int digits = 1; digits <= 17; ++digits) {  // the shortest that reads back as the same
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    if (std::strtod(text, nullptr) == value) break;
  }
  if (!std::strpbrk(text, ".e")) std::strcat(text, ".0");
  return text;
}

}  // namespace edgekit
