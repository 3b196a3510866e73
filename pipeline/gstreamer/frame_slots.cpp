// A loan may outlive its publisher but must be given back by one thread at a time, so give_back()
// takes the mutex even after close(). Whoever holds a loan holds the FrameSlots too.
#include "pipeline/gstreamer/frame_slots.hpp"

#include "shm/clock.hpp"
#include "sluice/correlation.hpp"
#include "sluice/tracing.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace sluice::gst {

Result<void> FrameSlots::prepare(const StreamFormat& format, std::uint64_t slot_bytes) {
  const std::lock_guard lock{mutex_};
  if (closed_) return Error{Errc::refused, 0, "the stream has ended"};
  if (!publisher_) {
    auto made = options_.advertise(slot_bytes);
    if (!made) return std::move(made).error();
    publisher_.emplace(std::move(*made));
    largest_slot_ = slot_bytes;
  }
  if (auto grown = grow(slot_bytes); !grown) return grown;
  source_.fourcc = static_cast<std::uint32_t>(format.format);
  source_.width = format.width();
  source_.height = format.height();
  source_.expected_interval_ns =
      format.interval_ns != 0 ? format.interval_ns : options_.expected_interval_ns;
  describe();
  return {};
}

Result<void> FrameSlots::make_room(std::uint64_t slot_bytes) {
  const std::lock_guard lock{mutex_};
  return grow(slot_bytes);
}

Result<void> FrameSlots::grow(std::uint64_t slot_bytes) {
  if (!publisher_) return Error{Errc::refused, 0, "the stream has ended"};
  if (slot_bytes <= largest_slot_) return {};
  if (auto added = publisher_->add_pool({slot_bytes, options_.slots_per_pool}); !added)
    return added;
  largest_slot_ = slot_bytes;
  return {};
}

Loan FrameSlots::loan(std::uint64_t slot_bytes) noexcept {
  const std::lock_guard lock{mutex_};
  return publisher_ ? publisher_->loan(slot_bytes) : Loan{Outcome::ended};
}

void FrameSlots::give_back(Loan&& loan) noexcept {
  const std::lock_guard lock{mutex_};
  const Loan dies_here{std::move(loan)};
}

std::uint64_t FrameSlots::arrived(std::optional<std::uint64_t> counted,
                                  std::uint64_t now_ns) noexcept {
  const std::lock_guard lock{mutex_};
  ++counts_.arrived;
  counts_.last_arrival_ns = now_ns;
  if (std::exchange(lost_, false)) ++source_.reconnects;
  const std::uint64_t number = numbers_.next(counted);
  counts_.gaps = source_.gaps = numbers_.gaps();
  return number;
}

void FrameSlots::publish(Loan&& loan, FrameHeader header, const FrameTimes& times,
                         bool copied) noexcept {
  header.number = times.number;
  header.sensor_ns = times.sensor_ns;
  header.exposure_us = times.exposure_us;
  put_text(header.camera, options_.camera);
  std::uint64_t end = kFrameHeaderBytes;
  for (std::uint32_t i = 0; i < header.plane_count; ++i) {
    end = std::max(end, header.planes[i].offset + header.planes[i].size);
  }

  const std::lock_guard lock{mutex_};
  Loan mine{std::move(loan)};  // ends under the mutex, whatever happens
  if (!publisher_) return;
  if (!mine.resize(end)) {
    ++counts_.failed;
    return;
  }
  ::new (mine.data()) FrameHeader{header};
  const CorrelationId correlation = new_correlation_id();
  mine.headers.correlation = correlation;
  mine.headers.origin_ns = times.sensor_ns;
  Reference reference;
  if (publisher_->publish(std::move(mine), reference) != Outcome::ok) {
    ++counts_.dropped;
    describe();
    return;
  }
  ++counts_.published;
  if (copied) ++counts_.copies;
  describe();
  if (options_.on_published) {
    options_.on_published({header, correlation, times, shm::now_ns(), reference});
  }
}

void FrameSlots::count_dropped() noexcept {
  const std::lock_guard lock{mutex_};
  ++counts_.dropped;
  describe();
}

void FrameSlots::count_failed() noexcept {
  const std::lock_guard lock{mutex_};
  ++counts_.failed;
}

void FrameSlots::source_restarted() noexcept {
  const std::lock_guard lock{mutex_};
  numbers_.source_restarted();
}

void FrameSlots::source_lost() noexcept {
  const std::lock_guard lock{mutex_};
  // A source that was never there is not lost.
  lost_ = counts_.arrived != 0;
}

std::uint64_t FrameSlots::reconnects() const noexcept {
  const std::lock_guard lock{mutex_};
  return source_.reconnects;
}

CaptureCounts FrameSlots::counts() const noexcept {
  const std::lock_guard lock{mutex_};
  return counts_;
}

void FrameSlots::tend() noexcept {
  const std::lock_guard lock{mutex_};
  if (!publisher_) return;
  publisher_->collect();
  describe();
}

void FrameSlots::close() noexcept {
  const std::lock_guard lock{mutex_};
  closed_ = true;
  publisher_.reset();
}

void FrameSlots::describe() noexcept {
  source_.copies = counts_.copies;
  source_.dropped = counts_.dropped;
  if (publisher_) publisher_->describe(source_);
}

}  // namespace sluice::gst
