// Messages come from other processes: everything goes through the functions that verify it, and
// every name through clean(). A message whose bytes are not what its stream's type promises is
// shown as bytes, with the reason: that is what somebody who looks at it wants to know.
#include "tools/sluice/decode.hpp"

#include "sluice/correlation.hpp"
#include "sluice/frame.hpp"
#include "sluice/results.hpp"
#include "sluice/tracing.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace sluice::tools {
namespace {

using nlohmann::json;

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

std::string box_text(const Box& box) {
  return joined({"at ", number(box.x), ",", number(box.y), " size ", number(box.width), "x",
                 number(box.height)});
}
json box_json(const Box& box) {
  return {{"x", box.x}, {"y", box.y}, {"width", box.width}, {"height", box.height}};
}

json reference_json(const Reference& reference) {
  return {{"stream", id_text(reference.stream_id)},
          {"sequence", reference.sequence},
          {"slot", reference.slot},
          {"lane", reference.lane}};
}

json frame_json(const FrameOf& frame) {
  return {{"camera", frame.camera},
          {"number", frame.number},
          {"width", frame.width},
          {"height", frame.height},
          {"correlation", to_string(frame.correlation)},
          {"origin_ns", frame.origin_ns},
          {"reference", reference_json(frame.reference)}};
}

std::string about(const FrameOf& frame, std::size_t count, const char* what,
                  const std::string& model) {
  return joined({plural(count, what), " by ", clean(model), " in frame ",
                 std::to_string(frame.number), " of camera ", clean(frame.camera), ", ",
                 std::to_string(frame.width), "x", std::to_string(frame.height)});
}

Decoded show(const Detections& all) {
  Decoded out;
  out.lines.push_back(about(all.frame, all.detections.size(), "detection", all.model));
  json list = json::array();
  for (const Detection& d : all.detections) {
    out.lines.push_back(
        joined({"  ", clean(d.label), " ", box_text(d.box), ", score ", number(d.score),
                d.landmarks.empty() ? "" : ", " + plural(d.landmarks.size(), "landmark")}));
    json landmarks = json::array();
    for (const Point& p : d.landmarks) landmarks.push_back({{"x", p.x}, {"y", p.y}});
    list.push_back({{"box", box_json(d.box)},
                    {"score", d.score},
                    {"label", d.label},
                    {"landmarks", std::move(landmarks)}});
  }
  out.json = {
      {"frame", frame_json(all.frame)}, {"model", all.model}, {"detections", std::move(list)}};
  return out;
}

Decoded show(const Identities& all) {
  Decoded out;
  out.lines.push_back(about(all.frame, all.identities.size(), "face", all.model));
  json list = json::array();
  for (const Identity& i : all.identities) {
    out.lines.push_back(joined({"  ", clean(i.name), " ", box_text(i.box), ", distance ",
                                number(i.distance), ", confidence ", number(i.confidence)}));
    list.push_back({{"box", box_json(i.box)},
                    {"name", i.name},
                    {"distance", i.distance},
                    {"confidence", i.confidence}});
  }
  out.json = {
      {"frame", frame_json(all.frame)}, {"model", all.model}, {"identities", std::move(list)}};
  return out;
}

Decoded show(const FrameHeader& h) {
  const std::string format = format_text(static_cast<std::uint32_t>(h.format));
  const std::string camera = clean(text_of(h.camera));
  Decoded out;
  out.lines.push_back(
      joined({"frame ", std::to_string(h.number), " of camera ", camera, ", ", format, " ",
              std::to_string(h.width), "x", std::to_string(h.height),
              h.rotation != 0 ? ", turned by " + std::to_string(h.rotation) : "",
              h.exposure_us != 0 ? ", " + std::to_string(h.exposure_us) + " µs" : "",
              h.gain_milli != 0 ? ", gain " + number(h.gain_milli / 1000.0) : ""}));
  json planes = json::array();
  for (std::uint32_t i = 0; i < h.plane_count && i < h.planes.size(); ++i) {
    planes.push_back({{"offset", h.planes[i].offset},
                      {"stride", h.planes[i].stride},
                      {"rows", h.planes[i].rows},
                      {"size", h.planes[i].size}});
  }
  out.json = {{"camera", camera},           {"number", h.number},
              {"format", format},           {"width", h.width},
              {"height", h.height},         {"modifier", h.modifier},
              {"sensor_ns", h.sensor_ns},   {"sensor_clock", h.sensor_clock},
              {"rotation", h.rotation},     {"exposure_us", h.exposure_us},
              {"gain_milli", h.gain_milli}, {"planes", std::move(planes)}};
  return out;
}

const char* name_of(SpanEnd end) {
  constexpr std::array kNames{"done", "failed", "skipped", "no room"};
  return kNames.at(static_cast<std::size_t>(end));
}

const char* name_of(HealthStatus status) {
  constexpr std::array kNames{"starting", "healthy", "degraded", "failing", "stopping"};
  return kNames.at(static_cast<std::size_t>(status));
}

std::uint64_t between(std::uint64_t from, std::uint64_t to) {
  return from != 0 && to > from ? to - from : 0;
}

Decoded show(const TraceSpan& s) {
  const std::uint64_t end = std::max(s.done_ns, s.output_ns);
  Decoded out;
  out.lines.push_back(
      joined({clean(text_of(s.stage)), " ", name_of(s.end), " with ", clean(text_of(s.topic)),
              ": waited ", duration_text(between(s.input_ns, s.taken_ns)), ", worked ",
              duration_text(between(s.taken_ns, end)), ", ",
              duration_text(between(s.origin_ns, end)), " since capture"}));
  out.json = {{"stage", text_of(s.stage)},
              {"pid", s.pid},
              {"topic", text_of(s.topic)},
              {"end", name_of(s.end)},
              {"correlation", to_string(s.correlation)},
              {"origin_ns", s.origin_ns},
              {"input_ns", s.input_ns},
              {"taken_ns", s.taken_ns},
              {"output_ns", s.output_ns},
              {"done_ns", s.done_ns},
              {"input", reference_json(s.input)},
              {"output", reference_json(s.output)}};
  return out;
}

Decoded show(const Health& h) {
  Decoded out;
  out.lines.push_back(
      joined({clean(text_of(h.node)), " ", name_of(h.status), " for ",
              duration_text(between(h.since_ns, h.at_ns)), ": handled ", std::to_string(h.handled),
              ", failed ", std::to_string(h.failed), ", slow ", std::to_string(h.slow),
              ", published ", std::to_string(h.published), "; work ",
              duration_text(h.handling_p50_ns), " (p99 ", duration_text(h.handling_p99_ns), ")"}));
  if (const auto error = text_of(h.last_error); !error.empty()) {
    out.lines.push_back(joined({"  last error: ", clean(error)}));
  }
  out.json = {{"node", text_of(h.node)},
              {"pid", h.pid},
              {"status", name_of(h.status)},
              {"since_ns", h.since_ns},
              {"at_ns", h.at_ns},
              {"handled", h.handled},
              {"failed", h.failed},
              {"skipped", h.skipped},
              {"slow", h.slow},
              {"published", h.published},
              {"no_room", h.no_room},
              {"copies", h.copies},
              {"handling_p50_ns", h.handling_p50_ns},
              {"handling_p99_ns", h.handling_p99_ns},
              {"last_error", text_of(h.last_error)}};
  return out;
}

// A flat struct, copied out before it is looked at: its writer might change it meanwhile.
template <class T>
Result<T> flat(std::span<const std::byte> bytes) {
  if (bytes.size() != sizeof(T)) {
    return Error{Errc::untrusted, 0,
                 std::to_string(bytes.size()) + " bytes instead of " + std::to_string(sizeof(T))};
  }
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  if (!valid(value)) return Error{Errc::untrusted, 0, "a value out of its range"};
  return value;
}

template <class T>
Decoded shown_or_bytes(const Result<T>& value, std::string_view type_name,
                       std::span<const std::byte> bytes, std::size_t max_bytes) {
  if (value) return show(*value);
  Decoded out = decode_bytes(bytes, max_bytes);
  const std::string sentence =
      joined({"not a ", clean(type_name), ": ", clean(value.error().message)});
  out.lines.insert(out.lines.begin(), sentence);
  out.json["error"] = sentence;
  return out;
}

bool is_text(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return !text.empty() && clean(text).find('?') == std::string::npos;
}

}  // namespace

Decoded decode_bytes(std::span<const std::byte> bytes, std::size_t max_bytes) {
  Decoded out;
  const auto shown = bytes.first(std::min(bytes.size(), max_bytes));
  // A buffer that is not filled ends with zeros.
  auto text = shown;
  while (!text.empty() && text.back() == std::byte{0}) text = text.first(text.size() - 1);
  if (is_text(text) && shown.size() == bytes.size()) {
    const std::string_view all(reinterpret_cast<const char*>(text.data()), text.size());
    out.lines.push_back(joined({"\"", clean(all), "\""}));
    out.json = {{"text", all}};
    return out;
  }
  std::string hex;
  std::array<char, 4> digits{};
  for (std::size_t row = 0; row < shown.size(); row += 16) {
    std::array<char, 24> offset{};
    std::snprintf(offset.data(), offset.size(), "%06zx ", row);
    std::string line = offset.data();
    std::string seen;
    for (std::size_t i = row; i < row + 16; ++i) {
      if (i == row + 8) line += ' ';
      if (i >= shown.size()) {
        line += "   ";
        continue;
      }
      const auto byte = static_cast<unsigned char>(shown[i]);
      std::snprintf(digits.data(), digits.size(), " %02x", byte);
      line += digits.data();
      hex += digits.data() + 1;
      seen += byte >= ' ' && byte <= '~' ? static_cast<char>(byte) : '.';
    }
    out.lines.push_back(joined({line, "  ", seen}));
  }
  if (shown.size() < bytes.size()) {
    out.lines.push_back(
        joined({"… and ", std::to_string(bytes.size() - shown.size()), " bytes more"}));
  }
  out.json = {{"hex", hex}, {"truncated", shown.size() < bytes.size()}};
  return out;
}

Decoded decode(const Sample& sample, std::string_view type_name, std::size_t max_bytes) {
  const auto bytes = sample.bytes();
  const auto as = [&](const auto& value) {
    return shown_or_bytes(value, type_name, bytes, max_bytes);
  };
  if (type_name == kDetectionsType) return as(decode_detections(bytes));
  if (type_name == kIdentitiesType) return as(decode_identities(bytes));
  if (type_name == kFrameType) {
    const auto view = view_frame(sample);
    return as(view ? Result<FrameHeader>(view->header) : Result<FrameHeader>(view.error()));
  }
  if (type_name == TypeName<TraceSpan>::value) return as(flat<TraceSpan>(bytes));
  if (type_name == TypeName<Health>::value) return as(flat<Health>(bytes));
  return decode_bytes(bytes, max_bytes);
}

json info_json(const Sample& sample, std::uint64_t now_ns) {
  const MessageInfo& info = sample.info();
  const auto age_ms = [&](std::uint64_t ns) {
    return ns != 0 ? json(static_cast<double>(now_ns - std::min(ns, now_ns)) / 1e6) : json();
  };
  // A source whose clock is wrong, or that looks ahead, says so by a capture that is still to come.
  const json origin_age_ms = info.origin_ns > now_ns
                                 ? json(-static_cast<double>(info.origin_ns - now_ns) / 1e6)
                                 : age_ms(info.origin_ns);
  json references = json::array();
  for (std::uint32_t i = 0; i < sample.reference_count(); ++i) {
    references.push_back(reference_json(sample.reference_at(i)));
  }
  const bool has_correlation = info.correlation != CorrelationId{};
  return {{"stream", id_text(sample.reference().stream_id)},
          {"sequence", info.sequence},
          {"publish_ns", info.publish_ns},
          {"age_ms", age_ms(info.publish_ns)},
          {"origin_ns", info.origin_ns},
          {"origin_age_ms", origin_age_ms},
          {"correlation", has_correlation ? json(to_string(info.correlation)) : json()},
          {"priority", static_cast<int>(info.priority)},
          {"ttl_ms", info.ttl_ms},
          {"user_flags", info.user_flags},
          {"redelivered", info.redelivered},
          {"references", std::move(references)},
          {"size_bytes", sample.size()}};
}

std::string info_text(const Sample& sample, std::uint64_t now_ns) {
  const MessageInfo& info = sample.info();
  const auto age = [&](std::uint64_t ns) { return duration_text(now_ns - std::min(ns, now_ns)); };
  std::string text = "seq " + std::to_string(info.sequence);
  if (info.publish_ns != 0) text += ", " + age(info.publish_ns) + " old";
  if (info.origin_ns > now_ns) {
    text += ", captured " + duration_text(info.origin_ns - now_ns) + " AHEAD of the clock";
  } else if (info.origin_ns != 0) {
    text += ", captured " + age(info.origin_ns) + " ago";
  }
  text += ", " + bytes_text(sample.size());
  if (const std::uint32_t held = sample.reference_count(); held != 0) {
    text += ", holds " + plural(held, "message");
  }
  if (info.ttl_ms != 0) text += ", lives " + std::to_string(info.ttl_ms) + " ms";
  if (info.redelivered) text += ", once more";
  if (info.correlation != CorrelationId{}) text += ", " + to_string(info.correlation);
  return text;
}

}  // namespace sluice::tools
