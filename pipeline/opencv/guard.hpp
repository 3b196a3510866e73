// OpenCV reports by exceptions; ours are Results.
#pragma once

#include "sluice/result.hpp"

#include <exception>
#include <string>
#include <type_traits>
#include <utility>

namespace sluice::opencv {

/// What `work` returns, or its exception as an error that begins with `what`.
template <class Work>
auto guarded(const std::string& what, Work work) -> Result<std::invoke_result_t<Work>> {
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Work>>) {
      work();
      return {};
    } else {
      return work();
    }
  } catch (const std::exception& error) {
    return Error{Errc::invalid_argument, 0, what + ": " + error.what()};
  }
}

}  // namespace sluice::opencv
