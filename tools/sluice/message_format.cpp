#include "tools/sluice/message_format.hpp"

#include "sluice/correlation.hpp"
#include "sluice/trace_context.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/units.hpp"

namespace sluice::tools {
namespace {

constexpr std::string_view kKnown = "tpxlicTSsPka";

// What stands for "\n" and its like; nothing for what means nothing.
std::optional<char> escaped(char c) noexcept {
  switch (c) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    case '0':
      return '\0';
    case '\\':
      return '\\';
    default:
      return std::nullopt;
  }
}

std::string hexadecimal(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 0xf];
  }
  return text;
}

}  // namespace

MessageFields fields_of(const Message& message) {
  return {message.topic(), message.text(), message.envelope(), message.info()};
}

std::optional<MessageFormat> MessageFormat::parse(std::string_view text, std::string& wrong) {
  MessageFormat format;
  format.parts_.emplace_back();
  const auto literal = [&format](char c) {
    if (format.parts_.back().what != 0) format.parts_.emplace_back();
    format.parts_.back().text += c;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c != '%' && c != '\\') {
      literal(c);
      continue;
    }
    const char next = ++i < text.size() ? text[i] : '\0';
    if (c == '\\') {
      const auto meant = i < text.size() ? escaped(next) : std::nullopt;
      if (!meant) {
        wrong = "a backslash in a format stands before n, t, r, 0 or another one";
        return std::nullopt;
      }
      literal(*meant);
    } else if (next == '%') {
      literal('%');
    } else if (next == 'n') {
      literal('\n');
    } else if (next != '\0' && kKnown.find(next) != std::string_view::npos) {
      format.parts_.push_back({next, {}});
    } else {
      wrong = "a format knows % followed by one of t p x l i c T S s P k a n %";
      return std::nullopt;
    }
  }
  const Part& last = format.parts_.back();
  if (last.what != 0 || !last.text.ends_with('\n')) literal('\n');
  return format;
}

std::string MessageFormat::print(const MessageFields& message, std::uint64_t now_ns) const {
  const Envelope& e = message.envelope;
  const std::uint64_t published = message.info.publish_ns;
  std::string all;
  for (const Part& part : parts_) {
    switch (part.what) {
      case 't':
        all += message.topic;
        break;
      case 'p':
        all += message.payload;
        break;
      case 'x':
        all += hexadecimal(message.payload);
        break;
      case 'l':
        all += std::to_string(message.payload.size());
        break;
      case 'i':
        all += sluice::to_string(e.id);
        break;
      case 'c':
        all += sluice::to_string(message.info.correlation);
        break;
      case 'T':
        if (const TraceContext trace{e.trace_id, e.span_id, e.trace_flags}; trace.valid()) {
          all += to_traceparent(trace);
        }
        break;
      case 'S':
        all += hex16(e.source);
        break;
      case 's':
        all += std::to_string(message.info.sequence);
        break;
      case 'P':
        all += to_string(message.info.priority);
        break;
      case 'k':
        all += to_string(e.codec);
        break;
      case 'a':
        all += duration_text(published != 0 && now_ns > published ? now_ns - published : 0);
        break;
      default:
        all += part.text;
    }
  }
  return all;
}

}  // namespace sluice::tools
