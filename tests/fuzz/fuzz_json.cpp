// JSON and requests as other processes may have written them: is_json says what a parser says, down
// to its depth; what is accepted as a record or a question says the same when it is written and
// read again; a request for state lies within its payload.
#include "daemons/recorder/convert.hpp"
#include "daemons/recorder/json.hpp"
#include "sluice/codec.hpp"
#include "tests/fuzz/input.hpp"
#include "transport/bus/state_protocol.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace {

using namespace sluice;
using fuzz::require;
using nlohmann::json;

// Of JSON: brackets outside of strings.
int depth_of(std::string_view text) {
  int depth = 0;
  int most = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      i += c == '\\' ? 1 : 0;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      most = std::max(most, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return most;
}

void check_value(std::string_view text) {
  const bool accepted = json::accept(text);
  const bool expected = accepted && depth_of(text) <= recorder::kMostLevels;
  require(is_json(text) == expected, "is_json says what a parser says");
  const json value = recorder::parse_json(text);
  require(value.is_discarded() == !expected, "so does parse_json");
  if (!expected) return;
  require(value == json::parse(text), "and reads the same");
}

void check_record(std::string_view line) {
  constexpr std::size_t kAny = std::size_t{1} << 30;
  const auto record = recorder::record_from_json(line);
  if (!record) return;
  const std::string written = recorder::json_line(*record, kAny);
  const auto again = recorder::record_from_json(written);
  require(again.has_value(), "what was a record is one when it is written");
  require(recorder::json_line(*again, kAny) == written, "and says the same");
  (void)recorder::json_line(*record, 64);
}

void check_question(std::string_view text) {
  const auto question = recorder::query_from_json(recorder::parse_json(text));
  if (!question) return;
  require(question->limit >= 1 && question->limit <= 100'000, "a question has a limit");
  const json written = recorder::to_json(*question);
  const auto again = recorder::query_from_json(written);
  require(again.has_value(), "what was a question is one when it is written");
  require(recorder::to_json(*again) == written, "and asks the same");
}

void check_state(std::span<const std::byte> payload) {
  const auto request = bus::read_state_request(payload);
  if (!request) return;
  const auto* const begin = reinterpret_cast<const char*>(payload.data());
  const auto* const value = reinterpret_cast<const char*>(request->value.data());
  require(request->key.data() >= begin && value >= begin &&
              request->key.data() + request->key.size() <= begin + payload.size() &&
              value + request->value.size() <= begin + payload.size(),
          "a request for state lies within its payload");
}

// A message of the bus as the recorder keeps it: any payload of any codec, any extensions.
void check_kept(std::string_view text) {
  if (text.size() < 4) return;
  recorder::Record record;
  record.topic = "a/b";
  record.codec = static_cast<std::uint8_t>(static_cast<unsigned char>(text[0]) % 5);
  record.kind = static_cast<std::uint8_t>(static_cast<unsigned char>(text[1]) % 5);
  const std::size_t cut =
      std::min<std::size_t>(static_cast<unsigned char>(text[2]), text.size() - 3);
  record.extensions = text.substr(3, cut);
  record.payload = text.substr(3 + cut);
  if (const auto letter = recorder::dead_letter_of(record)) {
    require(letter->error.back() == '\0', "a dead letter's sentence ends");
  }
  const std::string line = recorder::json_line(record, std::size_t{1} << 30);
  require(line.find('\n') == std::string::npos, "a record is one line");
  const auto back = recorder::record_from_json(line);
  require(back.has_value(), "what is kept can be told");
  if (record.codec == static_cast<std::uint8_t>(Codec::json)) return;  // is said in other words
  require(back->payload == record.payload, "and nothing of it is lost");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  check_value(text);
  check_record(text);
  check_question(text);
  check_state(std::as_bytes(std::span{data, size}));
  check_kept(text);
  const auto decoded = recorder::from_base64(text);
  if (decoded) require(recorder::from_base64(recorder::base64(*decoded)) == decoded, "base64");
  (void)recorder::parse_time(text, 0);
  return 0;
}
