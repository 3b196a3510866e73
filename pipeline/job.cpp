// One message in its handler's hands: what it stems from is carried on to what is published about
// it, and what becomes of it is noted for the stage's report.
#include "pipeline/job.hpp"

#include "shm/clock.hpp"
#include "sluice/correlation.hpp"

#include <cassert>
#include <cstring>
#include <utility>

namespace sluice {

void Job::Impl::begin(std::size_t index, Sample&& message, std::string_view from) {
  const MessageInfo& info = message.info();
  result = {};
  TraceSpan& span = result.span;
  span.taken_ns = shm::now_ns();
  span.correlation = info.correlation;
  // What came without an id gets one here, so that all that follows from it hangs together.
  if (span.correlation == CorrelationId{}) span.correlation = new_correlation_id();
  span.origin_ns = info.origin_ns;
  span.input_ns = info.publish_ns;
  span.input = message.reference();
  put_text(span.topic, from);
  topic.assign(from);
  input = index;
  skipped = false;
  loan_failed = false;
  sample = std::move(message);
}

Outcome Job::Impl::no_room(Outcome why) noexcept {
  ++result.no_room;
  return why;
}

const Sample& Job::input() const noexcept { return impl_->sample; }
std::size_t Job::input_index() const noexcept { return impl_->input; }
std::string_view Job::topic() const noexcept { return impl_->topic; }
Sample Job::take_input() noexcept { return std::move(impl_->sample); }

Sample Job::resolve(const Reference& reference) noexcept {
  for (Subscriber& subscriber : impl_->references) {
    Sample sample = subscriber.resolve(reference);
    if (sample || sample.outcome() != Outcome::mismatch) return sample;
  }
  return Sample{Outcome::mismatch};
}

Loan Job::loan(std::uint64_t size_bytes, std::size_t output, Priority priority) noexcept {
  assert(output < impl_->outputs.size());
  if (output >= impl_->outputs.size()) return Loan{Outcome::mismatch};
  Loan loan = impl_->outputs[output].loan(size_bytes, priority);
  if (!loan) {
    impl_->loan_failed = true;
    if (loan.outcome() == Outcome::not_allowed) {
      impl_->not_allowed = true;
      impl_->refused_output = output;
    }
    return Loan{impl_->no_room(loan.outcome())};
  }
  loan.headers.correlation = impl_->result.span.correlation;
  loan.headers.origin_ns = impl_->result.span.origin_ns;
  return loan;
}

Outcome Job::publish(Loan&& loan, std::size_t output) noexcept {
  assert(output < impl_->outputs.size());
  if (output >= impl_->outputs.size()) return Outcome::mismatch;
  if (!loan) {
    const Outcome why = loan.outcome();
    // Of a loan that was refused it is counted already.
    return std::exchange(impl_->loan_failed, false) ? why : impl_->no_room(why);
  }
  TraceSpan& span = impl_->result.span;
  const Outcome outcome = impl_->outputs[output].publish(std::move(loan), span.output);
  if (outcome != Outcome::ok) return impl_->no_room(outcome);
  span.output_ns = shm::now_ns();
  ++impl_->result.published;
  return outcome;
}

Outcome Job::publish(std::span<const std::byte> bytes, Sample&& held, std::size_t output) noexcept {
  Loan slot = loan(bytes.size(), output);
  if (!slot) {
    impl_->loan_failed = false;
    return slot.outcome();
  }
  if (!bytes.empty()) std::memcpy(slot.data(), bytes.data(), bytes.size());
  if (held) {
    const Outcome attached = slot.attach(std::move(held));
    if (attached != Outcome::ok) return impl_->no_room(attached);
  }
  return publish(std::move(slot), output);
}

void Job::skip() noexcept { impl_->skipped = true; }
void Job::note_copy() noexcept { ++impl_->result.copies; }

}  // namespace sluice
