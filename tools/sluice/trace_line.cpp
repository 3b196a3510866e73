// W3C Trace Context, section 4.3: what cannot be understood of `traceparent` makes the tracestate
// worthless too; a wrong tracestate alone is dropped, and the trace goes on.
#include "tools/sluice/trace_line.hpp"

#include "sluice/trace_context.hpp"
#include "tools/sluice/top_json.hpp"

#include <span>

namespace sluice::tools {
namespace {

std::string hexadecimal(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 0xf];
  }
  return text;
}

// Returns whether it is valid.
bool put_tracestate(nlohmann::json& out, std::string_view text) {
  const auto state = TraceState::parse(text);
  if (!state) {
    out["tracestate"] = nullptr;
    out["tracestate_error"] = "a member is wrong, a key is there twice, or there are more than 32";
    return false;
  }
  // What is passed on, and whether that is not all.
  const std::string passed_on = state->print();
  const std::size_t travelling = TraceState::parse(passed_on)->members().size();
  if (travelling != state->members().size()) out["cut"] = true;
  out["tracestate"] = passed_on;
  nlohmann::json members = nlohmann::json::array();
  for (const auto& [key, value] : state->members()) members.push_back({key, value});
  out["members"] = std::move(members);
  return true;
}

}  // namespace

TraceLine read_trace_line(std::string_view line) {
  TraceLine answer;
  const std::size_t tab = line.find('\t');
  const std::string_view parent = line.substr(0, tab);
  const auto context = parse_traceparent(parent);
  answer.valid = context.has_value();
  nlohmann::json out;
  if (context) {
    out["version"] = parent.substr(0, 2);
    out["trace_id"] = hexadecimal(context->trace_id);
    out["span_id"] = hexadecimal(context->span_id);
    out["sampled"] = (context->flags & kTraceSampled) != 0;
    out["canonical"] = to_traceparent(*context);
    if (tab != std::string_view::npos) {
      answer.valid = put_tracestate(out, line.substr(tab + 1));
    }
  }
  out["valid"] = context.has_value();
  answer.json = dumped(out);
  return answer;
}

}  // namespace sluice::tools
