#include "daemons/sluiced/attaching.hpp"

namespace sluice::broker {

std::optional<std::uint32_t> Attaching::ask(const Question& question) {
  std::size_t& count = per_publisher_[question.publisher];
  if (count >= kMaxPerPublisher) return std::nullopt;
  do {
    ++last_;
  } while (last_ == 0 || open_.contains(last_));
  ++count;
  open_.emplace(last_, question);
  return last_;
}

std::optional<Question> Attaching::answer(Id publisher, std::uint32_t number) {
  const auto it = open_.find(number);
  if (it == open_.end() || it->second.publisher != publisher) return std::nullopt;
  const Question question = it->second;
  open_.erase(it);
  const auto count = per_publisher_.find(publisher);
  if (--count->second == 0) per_publisher_.erase(count);
  return question;
}

template <class Choose>
std::vector<Question> Attaching::take(Choose choose) {
  std::vector<Question> taken;
  for (auto& [number, question] : open_) {
    if (question.subscriber == 0 || !choose(question)) continue;
    taken.push_back(question);
    question.subscriber = 0;
  }
  return taken;
}

std::vector<Question> Attaching::end_stream(Id stream) {
  return take([&](const Question& question) { return question.stream == stream; });
}

std::vector<Question> Attaching::take_late(std::uint64_t now_ns) {
  return take([&](const Question& question) { return question.deadline_ns <= now_ns; });
}

std::vector<Question> Attaching::cancel(Id stream, Id subscription) {
  return take([&](const Question& question) {
    return question.stream == stream && question.subscription == subscription;
  });
}

void Attaching::end_publisher(Id publisher) {
  std::erase_if(open_, [&](const auto& entry) { return entry.second.publisher == publisher; });
  per_publisher_.erase(publisher);
}

}  // namespace sluice::broker
