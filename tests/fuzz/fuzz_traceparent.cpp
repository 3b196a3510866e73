// traceparent and tracestate: what is read and printed is read again, and printed the same.
#include "sluice/trace_context.hpp"
#include "tests/fuzz/input.hpp"
#include "transport/bus/envelope_writer.hpp"

#include <string>
#include <string_view>

namespace sluice::fuzz {
namespace {

void check_traceparent(std::string_view text) {
  const auto context = parse_traceparent(text);
  if (!context) return;
  require(context->valid(), "what is read is a context");
  const std::string printed = to_traceparent(*context);
  require(printed.size() == 55 && printed.substr(2, 51) == text.substr(2, 51),
          "trace and span as they came");
  const auto again = parse_traceparent(printed);
  require(again.has_value(), "what is printed can be read");
  require(again->flags == (context->flags & kTraceSampled), "whether it is sampled");
  require(to_traceparent(*again) == printed, "and printed the same");
}

void check_tracestate(std::string_view text) {
  const auto state = TraceState::parse(text);
  std::string settled{text};
  bus::settle_tracestate(new_trace({}), settled);
  require(settled == (state ? state->print() : ""), "what messages carry is what is printed");
  if (!state) return;
  const std::string printed = state->print();
  require(printed.size() <= TraceState::kMaxBytes, "no more than travels");
  const auto again = TraceState::parse(printed);
  require(again.has_value(), "what is printed can be read");
  require(again->print() == printed, "and printed the same");
  for (const auto& [key, value] : again->members()) {
    require(state->get(key) == value, "nothing is invented");
  }
  TraceState changed = *state;
  require(changed.set("sluice", "1"), "a key can be added");
  require(changed.members().size() <= TraceState::kMaxMembers, "no more than there may be");
  require(changed.members().front().first == "sluice", "in front");
  require(TraceState::parse(changed.print()).has_value(), "and it can still be read");
}

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  // As in a request: the first line is one, the rest the other.
  const std::size_t line = text.find('\n');
  sluice::fuzz::check_traceparent(text.substr(0, line));
  if (line != std::string_view::npos) sluice::fuzz::check_tracestate(text.substr(line + 1));
  return 0;
}
