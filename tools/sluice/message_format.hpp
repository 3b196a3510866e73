// The line that `sluice sub` prints for a message, after a format like mosquitto_sub's.
#pragma once

#include "sluice/message_subscriber.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tools {

/// What a format can name; made of a Message, or by hand in tests.
struct MessageFields {
  std::string_view topic;
  std::string_view payload;
  Envelope envelope;
  MessageInfo info;
};
MessageFields fields_of(const Message& message);

/// %t topic, %p payload, %x payload in hexadecimal, %l its length in bytes, %i id, %c correlation,
/// %T traceparent, %S source (node id), %s sequence, %P priority, %k codec, %a age, %n line feed,
/// %% percent; and \n \t \r \0 \\ as in C. A line feed is added where there is none at the end.
class MessageFormat {
 public:
  /// Nothing, and in `wrong` a sentence, for what is none.
  static std::optional<MessageFormat> parse(std::string_view text, std::string& wrong);
  /// `now_ns`: CLOCK_MONOTONIC.
  [[nodiscard]] std::string print(const MessageFields& message, std::uint64_t now_ns) const;

 private:
  struct Part {
    char what = 0;  // 0: the text
    std::string text;
  };
  std::vector<Part> parts_;
};

}  // namespace sluice::tools
