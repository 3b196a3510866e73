// A publisher and its readers in one process, each with mappings of its own: the same path through
// descriptors, verification and admission that separate processes take.
#pragma once

#include "shm/arena.hpp"
#include "shm/publisher.hpp"
#include "shm/reader.hpp"
#include "tests/support/must.hpp"

#include <fcntl.h>

#include <memory>
#include <utility>

namespace sluice::test {

class LocalLink {
 public:
  explicit LocalLink(const StreamOptions& options)
      : publisher_(must(shm::Publisher::create(options))),
        reader_arena_(must(shm::Arena::create("test-readers"))),
        wake_arena_(must(shm::Arena::create("test-wakes"))) {}

  shm::Publisher& publisher() { return *publisher_; }

  /// Attaches a reader; `event` as in AttachRequest.
  Result<shm::ReaderPtr> try_attach(const SubscriptionOptions& options,
                                    shm::UniqueFd event = shm::UniqueFd{}) {
    auto stream = publisher_->share();
    if (!stream) return std::move(stream).error();
    auto reader = shm::Reader::open(*stream, options, reader_arena_);
    if (!reader) return std::move(reader).error();
    auto admission = admit(**reader, options, std::move(event));
    if (!admission) return std::move(admission).error();
    shm::UniqueFd room{room_event_.valid() ? ::fcntl(room_event_.get(), F_DUPFD_CLOEXEC, 0) : -1};
    auto started = (*reader)->start(view_of(*wake_arena_), admission->wake_offset, shm::UniqueFd{},
                                    std::move(room));
    if (!started) return std::move(started).error();
    return reader;
  }

  /// The publisher's part of it.
  Result<shm::Admission> admit(const shm::Reader& reader, const SubscriptionOptions& options,
                               shm::UniqueFd event = shm::UniqueFd{}) {
    shm::AttachRequest request;
    request.options = options;
    request.reader_arena = view_of(*reader_arena_);
    request.page_offset = reader.page_offset();
    request.wake_arena = wake_arena_;
    request.event = std::move(event);
    auto admission = publisher_->attach(std::move(request));
    if (admission) last_id_ = admission->reader_id;
    return admission;
  }

  shm::ReaderPtr attach(const SubscriptionOptions& options, shm::UniqueFd event = shm::UniqueFd{}) {
    return must(try_attach(options, std::move(event)));
  }

  /// Readers attached from now on say through this eventfd that they have a credit again.
  void use_room_event(shm::UniqueFd event) { room_event_ = std::move(event); }
  [[nodiscard]] int room_event() const { return room_event_.get(); }
  /// Closes the publisher, as its process's end would.
  void close_publisher() { publisher_.reset(); }
  [[nodiscard]] std::uint32_t last_reader_id() const { return last_id_; }
  std::shared_ptr<shm::Arena> reader_arena() { return reader_arena_; }
  std::shared_ptr<shm::Arena> wake_arena() { return wake_arena_; }

 private:
  static std::shared_ptr<const shm::View> view_of(const shm::Arena& arena) {
    const shm::UniqueFd fd = must(arena.share());
    return std::make_shared<const shm::View>(
        must(shm::View::open(fd.get(), "an arena", arena.size())));
  }

  shm::PublisherPtr publisher_;
  std::shared_ptr<shm::Arena> reader_arena_;
  std::shared_ptr<shm::Arena> wake_arena_;
  shm::UniqueFd room_event_;
  std::uint32_t last_id_ = 0;
};

}  // namespace sluice::test
