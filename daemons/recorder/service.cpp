#include "daemons/recorder/service.hpp"

#include "daemons/recorder/json.hpp"
#include "sluice/topic.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace sluice::recorder {
namespace {

using nlohmann::json;

constexpr std::uint64_t kLineBytes = 4'096;  ///< Of a record, beside its payload.

StatusCode code_of(const Error& error) noexcept {
  switch (error.code) {
    case Errc::invalid_argument:
      return StatusCode::invalid_argument;
    case Errc::untrusted:
      return StatusCode::data_loss;
    case Errc::exhausted:
      return StatusCode::resource_exhausted;
    default:
      return StatusCode::unavailable;
  }
}

Result<std::string> answer(const Query& query, const Archive& archive, bool with_payload,
                           std::uint64_t max_bytes) {
  constexpr std::uint64_t kHeadBytes = 64;
  auto page = archive.read(query);
  if (!page) return std::move(page).error();
  std::string lines;
  std::size_t count = 0;
  for (const Record& record : page->records) {
    std::string line = json_line(record, static_cast<std::size_t>(max_bytes / 2), with_payload);
    if (count != 0 && lines.size() + line.size() + kHeadBytes >= max_bytes) {
      page->more = true;
      break;
    }
    lines += line;
    lines += '\n';
    ++count;
  }
  return json{{"more", page->more}, {"count", count}}.dump() + "\n" + lines;
}

// Takes a key out, since what is left is a query.
json taken(json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  if (found == object.end()) return {};
  json value = std::move(*found);
  object.erase(found);
  return value;
}

Result<json> parsed(std::string_view request) {
  json asked = request.empty() ? json::object() : parse_json(request);
  if (asked.is_object()) return asked;
  return Error{Errc::invalid_argument, 0, "the request is a JSON object, as {\"limit\": 10}"};
}

}  // namespace

Result<std::string> answer_audit(std::string_view request, const Archive& archive,
                                 std::uint64_t max_bytes) {
  auto asked = parsed(request);
  if (!asked) return asked.error();
  const json payload = taken(*asked, "payload");
  auto query = query_from_json(*asked);
  if (!query) return query.error();
  query->max_bytes = max_bytes;
  return answer(*query, archive, payload != false, max_bytes);
}

Result<std::string> answer_dead_letters(std::string_view request, const Archive& archive,
                                        Store& store, std::uint64_t max_bytes) {
  auto asked = parsed(request);
  if (!asked) return asked.error();
  const json what = taken(*asked, "do");
  const json payload = taken(*asked, "payload");
  auto query = query_from_json(*asked);
  if (!query) return query.error();
  if (!query->filter.empty()) query->filter = "$dlq/" + query->filter;
  query->what = RecordClass::dead_letter;
  query->max_bytes = max_bytes;
  if (what == "purge") {
    const auto count = store.purge(*query);
    if (!count) return count.error();
    return json{{"purged", *count}}.dump();
  }
  if (!what.is_null() && what != "ls") {
    return Error{Errc::invalid_argument, 0, "\"do\" is \"ls\" or \"purge\""};
  }
  return answer(*query, archive, payload != false, max_bytes);
}

Result<std::unique_ptr<Service>> Service::create(Node& node, Store& store, Archive archive,
                                                 std::uint64_t max_message_bytes) {
  auto set = WaitSet::create();
  if (!set) return std::move(set).error();
  // The largest record in base64 fits twice.
  const std::uint64_t reply_bytes = 4 * (max_message_bytes + kLineBytes);
  std::unique_ptr<Service> service{
      new Service(store, std::move(archive), reply_bytes, std::move(set).value())};
  if (auto started = service->start(node); !started) return started.error();
  return service;
}

Service::~Service() = default;

Result<void> Service::start(Node& node) {
  ResponderOptions options;
  options.reply_bytes = reply_bytes_;
  options.credits = 2;
  options.max_held = 8;
  options.codec = Codec::json;
  options.spin_ns = 0;
  options.slow = std::chrono::seconds{5};
  const auto serve = [](const auto& work) {
    return [work](Request& request) {
      const Result<std::string> answered = work(request.text());
      if (answered) {
        (void)request.reply(std::string_view{*answered});
      } else {
        (void)request.reply(Status{code_of(answered.error()), answered.error().message});
      }
    };
  };
  auto audit = Responder::create(node, kAuditService, serve([this](std::string_view request) {
                                   return answer_audit(request, archive_, reply_bytes_);
                                 }),
                                 options, &set_);
  if (!audit) return std::move(audit).error();
  audit_ = std::move(audit).value();
  auto dead_letters =
      Responder::create(node, kDeadLetterService, serve([this](std::string_view request) {
                          return answer_dead_letters(request, archive_, store_, reply_bytes_);
                        }),
                        options, &set_);
  if (!dead_letters) return std::move(dead_letters).error();
  dead_letters_ = std::move(dead_letters).value();
  return {};
}

void Service::step(Deadline deadline) {
  const auto now = std::chrono::steady_clock::now();
  if (audit_->step(now) + dead_letters_->step(now) == 0) (void)set_.wait(deadline);
}

}  // namespace sluice::recorder
