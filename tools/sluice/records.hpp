// Where `sluice audit` and `sluice dlq` get records from.
#pragma once

#include "daemons/recorder/archive.hpp"
#include "daemons/recorder/record.hpp"
#include "sluice/requester.hpp"
#include "tools/sluice/session.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tools {

/// One thread.
class RecordSource {
 public:
  virtual ~RecordSource() = default;
  /// A page; `query.limit` and what fits end it.
  virtual Result<recorder::Page> read(const recorder::Query& query) = 0;
};

/// A file and the dated ones beside it, whether or not a recorder writes to it.
std::unique_ptr<RecordSource> file_source(const std::string& path);

/// A recorder, by one of its services.
class RecorderClient final : public RecordSource {
 public:
  static Result<std::unique_ptr<RecorderClient>> create(Node& node, const std::string& service);
  Result<recorder::Page> read(const recorder::Query& query) override;
  /// Any request of the service; its answer.
  Result<std::string> ask(const std::string& request);
  /// Whether the last answer was that nobody is there.
  [[nodiscard]] bool is_missing() const noexcept { return missing_; }

 private:
  explicit RecorderClient(std::unique_ptr<Requester> requester)
      : requester_(std::move(requester)) {}
  std::unique_ptr<Requester> requester_;
  bool missing_ = false;
};

/// All pages, at most `most` records.
Result<std::vector<recorder::Record>> read_all(RecordSource& source, recorder::Query query,
                                               std::size_t most);

/// CLOCK_REALTIME.
std::int64_t wall_clock_ns() noexcept;
/// A payload in one line for people, cut off at so many columns.
std::string payload_text(const recorder::Record& record, std::size_t columns);

}  // namespace sluice::tools
