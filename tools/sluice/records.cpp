#include "tools/sluice/records.hpp"

#include "daemons/recorder/json.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"

#include <time.h>

#include <algorithm>
#include <utility>

namespace sluice::tools {
namespace {

using recorder::Page;
using recorder::Query;
using recorder::Record;

class FileSource final : public RecordSource {
 public:
  explicit FileSource(const std::string& path) : archive_(path) {}
  Result<Page> read(const Query& query) override { return archive_.read(query); }

 private:
  recorder::Archive archive_;
};

std::string_view next_line(std::string_view& text) {
  const auto end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

}  // namespace

std::unique_ptr<RecordSource> file_source(const std::string& path) {
  return std::make_unique<FileSource>(path);
}

Result<std::unique_ptr<RecorderClient>> RecorderClient::create(Node& node,
                                                               const std::string& service) {
  RequesterOptions options;
  options.request_bytes = 70'000;  // a filter of any length
  options.max_calls = 1;
  options.timeout = std::chrono::seconds{30};
  options.codec = Codec::json;
  auto requester = Requester::create(node, service, options);
  if (!requester) return std::move(requester).error();
  return std::unique_ptr<RecorderClient>{new RecorderClient(std::move(requester).value())};
}

Result<std::string> RecorderClient::ask(const std::string& request) {
  CallOptions call;
  call.idempotent = true;
  // It may have to introduce itself to a broker that has just started.
  const auto patience = std::chrono::steady_clock::now() + std::chrono::milliseconds{500};
  for (;;) {
    const Reply reply = requester_->call(request, call);
    missing_ = reply.status.code == StatusCode::unavailable && requester_->worker_count() == 0;
    if (reply) return std::string{reply.text()};
    if (missing_ && std::chrono::steady_clock::now() < patience &&
        sleep_until(std::chrono::steady_clock::now() + std::chrono::milliseconds{20})) {
      continue;
    }
    if (missing_) {
      return Error{Errc::refused, 0,
                   "no recorder serves '" + requester_->service() +
                       "'; start sluice-recorder, or read its file with --file"};
    }
    return Error{Errc::refused, 0,
                 std::string("the recorder answers: ") + to_string(reply.status.code) + ": " +
                     clean(reply.status.message)};
  }
}

Result<Page> RecorderClient::read(const Query& query) {
  const auto answer = ask(dumped(recorder::to_json(query)));
  if (!answer) return answer.error();
  std::string_view rest = *answer;
  const nlohmann::json head = nlohmann::json::parse(next_line(rest), nullptr, false);
  Page page;
  page.more = head.is_object() && head.value("more", nlohmann::json{}) == true;
  while (!rest.empty()) {
    auto record = recorder::record_from_json(next_line(rest));
    if (!record)
      return Error{Errc::untrusted, 0, "the recorder's answer: " + record.error().message};
    page.records.push_back(std::move(record).value());
  }
  if (page.more && page.records.empty()) {
    return Error{Errc::untrusted, 0, "the recorder's answer has no records, and more of them"};
  }
  return page;
}

Result<std::vector<Record>> read_all(RecordSource& source, Query query, std::size_t most) {
  std::vector<Record> all;
  for (;;) {
    query.limit = static_cast<std::uint32_t>(std::min<std::size_t>(500, most - all.size()));
    auto page = source.read(query);
    if (!page) return std::move(page).error();
    for (Record& record : page->records) all.push_back(std::move(record));
    if (!page->more || page->records.empty() || all.size() >= most || interrupted()) return all;
    (query.newest_first ? query.before_row : query.after_row) = all.back().row;
  }
}

std::int64_t wall_clock_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::string payload_text(const Record& record, std::size_t columns) {
  const nlohmann::json all = recorder::to_json(record);
  if (const auto payload = all.find("payload"); payload != all.end()) {
    return cut(payload->is_string() ? payload->get<std::string>() : dumped(*payload), columns);
  }
  if (record.payload.empty()) return "";
  const bool printable = std::all_of(record.payload.begin(), record.payload.end(),
                                     [](char c) { return c >= ' ' && c <= '~'; });
  return printable ? cut(record.payload, columns) : bytes_text(record.payload.size());
}

}  // namespace sluice::tools
