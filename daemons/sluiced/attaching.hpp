// Attachments that a publisher was asked for and has not answered.
#pragma once

#include "daemons/sluiced/registry.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace sluice::broker {

/// The subscriber's Attach, passed on as Admit under a number of the broker's own.
struct Question {
  Id stream = 0;
  Id subscription = 0;
  Id publisher = 0;           ///< Node that is asked.
  Id subscriber = 0;          ///< Node that waits, or 0: not any more.
  std::uint32_t request = 0;  ///< The subscriber's number, for the answer.
  std::uint64_t deadline_ns = 0;
};

/// A plain table. What nobody waits for any more stays until the publisher answers, so that the
/// number of questions that a publisher has before it is bounded.
class Attaching {
 public:
  static constexpr std::size_t kMaxPerPublisher = 256;

  /// The number to ask under, or nothing when the publisher has too many open already.
  std::optional<std::uint32_t> ask(const Question& question);
  /// The question that this node was asked under `number`; it is forgotten.
  std::optional<Question> answer(Id publisher, std::uint32_t number);

  /// Those whose subscribers must now be told no. A withdrawn stream's publisher may still answer,
  /// and is not held to it; a publisher that has gone answers nothing.
  std::vector<Question> end_stream(Id stream);
  std::vector<Question> take_late(std::uint64_t now_ns);
  std::vector<Question> cancel(Id stream, Id subscription);
  void end_publisher(Id publisher);

 private:
  template <class Choose>
  std::vector<Question> take(Choose choose);

  std::map<std::uint32_t, Question> open_;
  std::map<Id, std::size_t> per_publisher_;
  std::uint32_t last_ = 0;
};

}  // namespace sluice::broker
