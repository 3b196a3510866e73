// What stands behind a Job: the message that is being handled, and what the stage lends it.
#pragma once

#include "pipeline/stage_report.hpp"
#include "sluice/stage.hpp"

#include <string>
#include <vector>

namespace sluice {

struct Job::Impl {
  Impl(std::vector<Publisher>& to, std::vector<Subscriber>& of) : outputs(to), references(of) {}

  void begin(std::size_t index, Sample&& message, std::string_view from);
  /// A result that found no room.
  Outcome no_room(Outcome why) noexcept;

  std::vector<Publisher>& outputs;
  std::vector<Subscriber>& references;

  Sample sample;
  std::size_t input = 0;
  std::string topic;  // a copy: streams come and go
  pipeline::Handled result;
  bool skipped = false;
  bool loan_failed = false;        // and is counted already
  bool not_allowed = false;        // to publish; remembered for the stage
  std::size_t refused_output = 0;  // then
};

}  // namespace sluice
