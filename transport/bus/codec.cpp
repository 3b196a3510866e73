#include "sluice/codec.hpp"

#include "sluice/correlation.hpp"
#include "sluice/trace_context.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <cstdio>
#include <string>
#include <utility>

namespace sluice {
namespace {

using nlohmann::json;

// Says no to what is nested too deep; all else is nlohmann's to judge.
class DepthLimit final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return ++depth_ <= kDepth; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return depth_-- > 0; }
  bool start_array(std::size_t) override { return ++depth_ <= kDepth; }
  bool end_array() override { return depth_-- > 0; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  static constexpr int kDepth = 64;
  int depth_ = 0;
};

std::string hex(std::uint64_t number) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(number));
  return text.data();
}

std::string base64(std::span<const std::byte> bytes) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t k = 0; k < 3; ++k) {
      group = group << 8 | (k < count ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      text += k <= count ? kAlphabet[group >> (18 - 6 * k) & 0x3f] : '=';
    }
  }
  return text;
}

void put_payload(json& out, const Message& message) {
  const Codec codec = message.envelope().codec;
  if (codec != Codec::text && codec != Codec::json) {
    out["bytes"] = message.payload().size();
    out["base64"] = base64(message.payload());
    return;
  }
  std::string text{message.text()};  // once: the sender can change it while it is looked at
  if (codec == Codec::json && is_json(text)) {
    out["payload"] = json::parse(text, nullptr, false);
  } else {
    out["text"] = std::move(text);
  }
}

}  // namespace

bool is_json(std::string_view text) noexcept {
  try {
    DepthLimit limit;
    return json::sax_parse(text.begin(), text.end(), &limit);
  } catch (const std::exception&) {  // no memory for a string in it
    return false;
  }
}

std::string to_json(const Message& message) {
  if (!message) return "null";
  const Envelope& e = message.envelope();
  const MessageInfo& info = message.info();
  json out{
      {"topic", message.topic()},
      {"kind", to_string(e.kind)},
      {"codec", to_string(e.codec)},
      {"id", to_string(e.id)},
      {"correlation", to_string(info.correlation)},
      {"source", hex(e.source)},
      {"sequence", info.sequence},
      {"priority", static_cast<unsigned>(info.priority)},
      {"hops", e.hops},
      {"publish_ns", info.publish_ns},
      {"origin_ns", info.origin_ns},
  };
  if (info.type_hash != 0) out["type"] = hex(info.type_hash);
  if (e.destination != 0) out["destination"] = hex(e.destination);
  if (e.expires_ns != 0) out["expires_ns"] = e.expires_ns;
  if (e.kind == MessageKind::request || e.kind == MessageKind::reply) out["call"] = e.call;
  if (e.kind == MessageKind::reply) out["status"] = e.status;
  if (message.deliveries_before() != 0) out["deliveries_before"] = message.deliveries_before();
  const Context context = message.context();
  if (context.trace.valid()) out["traceparent"] = to_traceparent(context.trace);
  if (!context.tracestate.empty()) out["tracestate"] = context.tracestate;
  put_payload(out, message);
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace sluice
