#include "daemons/sluiced/system_event.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <cstdio>
#include <ctime>

namespace sluice::broker {
namespace {

using Json = nlohmann::ordered_json;

// Not in the middle of a character.
std::string cut(const std::string& text) {
  if (text.size() <= kMaxTextBytes) return text;
  std::size_t end = kMaxTextBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0u) == 0x80) --end;
  return text.substr(0, end) + "…";
}

void add(Json& json, const char* key, const std::string& text) {
  if (!text.empty()) json[key] = cut(text);
}

std::string hex(std::uint64_t id) {
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(id));
  return digits.data();
}

// Whole numbers without a point.
Json number(double value) {
  const auto whole = static_cast<std::int64_t>(value);
  return static_cast<double>(whole) == value ? Json(whole) : Json(value);
}

}  // namespace

const char* to_string(SystemTopic topic) noexcept {
  constexpr std::array<const char*, kSystemTopics> kNames{"$sys/nodes", "$sys/access",
                                                          "$sys/stats"};
  return kNames[static_cast<std::size_t>(topic)];
}

std::uint64_t wall_clock_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

std::string rfc3339(std::uint64_t time_ns) {
  const auto seconds = static_cast<std::time_t>(time_ns / 1'000'000'000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::array<char, 24> date{};
  std::strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::array<char, 8> rest{};
  std::snprintf(rest.data(), rest.size(), ".%03uZ",
                static_cast<unsigned>(time_ns / 1'000'000 % 1'000));
  return std::string(date.data()) + rest.data();
}

std::string to_json(const SystemEvent& event) {
  Json json;
  json["event"] = event.what;
  add(json, "node", event.node);
  if (event.node_id != 0) json["id"] = hex(event.node_id);
  if (event.pid != 0) json["pid"] = event.pid;
  if (event.has_user) json["uid"] = event.uid;
  add(json, "user", event.user);
  add(json, "topic", event.topic_name);
  add(json, "filter", event.filter);
  add(json, "other", event.other);
  add(json, "version", event.version);
  if (!event.capabilities.empty()) json["capabilities"] = event.capabilities;
  add(json, "last_words", event.last_words);
  add(json, "reason", event.sentence);
  if (event.count != 0) json["count"] = event.count;
  for (const auto& [name, value] : event.figures) json[name] = number(value);
  json["time"] = rfc3339(event.time_ns);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool EventGate::pass(uid_t uid, std::uint64_t now_ns, std::uint64_t& left_out) {
  User& user = users_[uid];
  left_out = 0;
  if (!user.bucket.take(now_ns, rate_hz_)) {
    ++user.left_out;
    return false;
  }
  left_out = std::exchange(user.left_out, 0);
  return true;
}

std::map<uid_t, std::uint64_t> EventGate::take_left_out() {
  std::map<uid_t, std::uint64_t> all;
  for (auto& [uid, user] : users_) {
    if (user.left_out != 0) all[uid] = std::exchange(user.left_out, 0);
  }
  return all;
}

}  // namespace sluice::broker
