// A subscription whose reader page is written by the test: what a faulty or hostile reader could
// do.
#pragma once

#include "shm/arena.hpp"
#include "shm/layout.hpp"
#include "shm/publisher.hpp"
#include "tests/support/must.hpp"

#include <memory>

namespace sluice::test {

class ForgedReader {
 public:
  ForgedReader(shm::Publisher& publisher, const SubscriptionOptions& options)
      : arena_(must(shm::Arena::create("forged"))), wakes_(must(shm::Arena::create("wakes"))) {
    const std::uint32_t limit = publisher.geometry().slot_limit;
    cell_ = must(arena_->allocate(shm::reader_page_bytes(limit)));
    put(page().sleeping.state, static_cast<std::uint32_t>(shm::ReaderState::active));
    const shm::UniqueFd fd = must(arena_->share());
    shm::AttachRequest request;
    request.options = options;
    request.reader_arena =
        std::make_shared<const shm::View>(must(shm::View::open(fd.get(), "an arena")));
    request.page_offset = cell_.offset;
    request.wake_arena = wakes_;
    admission_ = must(publisher.attach(std::move(request)));
    const shm::UniqueFd wake_fd = must(wakes_->share());
    wake_view_ = must(shm::View::open(wake_fd.get(), "a wake arena"));
  }

  [[nodiscard]] shm::ReaderPage& page() const {
    return *reinterpret_cast<shm::ReaderPage*>(cell_.data);
  }
  [[nodiscard]] shm::ClaimPair& claims(std::size_t pair) const {
    return reinterpret_cast<shm::ClaimPair*>(cell_.data + shm::kClaimsOffset)[pair];
  }
  [[nodiscard]] const shm::WakePage& wake() const {
    return *reinterpret_cast<const shm::WakePage*>(wake_view_.data() + admission_.wake_offset);
  }
  [[nodiscard]] const shm::GroupWakePage& group_wake() const {
    return reinterpret_cast<const shm::GroupWakePage&>(wake());
  }
  [[nodiscard]] shm::AdmissionState state() const {
    return static_cast<shm::AdmissionState>(wake().line.state.load());
  }
  [[nodiscard]] shm::EvictionCause cause() const {
    return static_cast<shm::EvictionCause>(wake().line.cause.load());
  }
  [[nodiscard]] std::uint32_t id() const { return admission_.reader_id; }

  static void put(shm::Word32& word, std::uint32_t value) { word.store(value); }
  static void put(shm::Word64& word, std::uint64_t value) { word.store(value); }

 private:
  std::shared_ptr<shm::Arena> arena_;
  std::shared_ptr<shm::Arena> wakes_;
  shm::Cell cell_;
  shm::Admission admission_;
  shm::View wake_view_;
};

}  // namespace sluice::test
