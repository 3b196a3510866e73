// Why a client does not get what it asked for, as requests.cpp, attach_requests.cpp and others say
// it.
#pragma once

#include "sluice/result.hpp"

#include <string>
#include <utility>

namespace sluice::broker {

/// Not possible here and now; the client hears the sentence and goes on.
inline Error refused(std::string sentence) { return {Errc::refused, 0, std::move(sentence)}; }
/// No well-behaved client sends this.
inline Error untrusted(std::string sentence) { return {Errc::untrusted, 0, std::move(sentence)}; }

}  // namespace sluice::broker
