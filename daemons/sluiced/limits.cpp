#include "daemons/sluiced/limits.hpp"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <utility>

namespace sluice::broker {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;

std::size_t index_of(Resource resource) { return static_cast<std::size_t>(resource); }

const LimitField& field_of(Resource resource) { return kLimitFields[index_of(resource)]; }
const LimitField& request_field() { return kLimitFields[kResources]; }

bool fits(std::uint64_t used, std::uint64_t amount, std::uint64_t limit) {
  return used <= limit && amount <= limit - used;
}

std::string figures(const char* what, std::uint64_t used, std::uint64_t limit) {
  return std::to_string(used) + " of " + std::to_string(limit) + " " + what;
}

Error exhausted(std::string message) { return {Errc::exhausted, 0, std::move(message)}; }

}  // namespace

std::uint64_t physical_memory() noexcept {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page)
                               : std::uint64_t{1} << 30;
}

bool TokenBucket::ready(std::uint64_t now_ns, std::uint64_t rate_hz) const noexcept {
  if (rate_hz == 0) return false;
  const std::uint64_t ahead_ns = busy_until_ns_ > now_ns ? busy_until_ns_ - now_ns : 0;
  return ahead_ns + kSecondNs / rate_hz <= kSecondNs;
}

bool TokenBucket::take(std::uint64_t now_ns, std::uint64_t rate_hz) noexcept {
  if (!ready(now_ns, rate_hz)) return false;
  busy_until_ns_ = std::max(busy_until_ns_, now_ns) + kSecondNs / rate_hz;
  return true;
}

Result<void> Ledger::charge(uid_t uid, Resource resource, std::uint64_t amount) {
  const auto& [name, value] = field_of(resource);
  const std::size_t i = index_of(resource);
  Account& account = accounts_[uid];
  const std::uint64_t limit = limits_of(uid).*value;
  const std::string more = " and asks for " + std::to_string(amount) + " more; raise ";
  if (!fits(account.used[i], amount, limit)) {
    return exhausted(name_of(uid) + " has " + figures(name, account.used[i], limit) + more +
                     key_of(uid, name));
  }
  const std::uint64_t limit_of_all = limits_.in_all.*value;
  if (!fits(all_.used[i], amount, limit_of_all)) {
    return exhausted("all users together have " + figures(name, all_.used[i], limit_of_all) + ", " +
                     name_of(uid) + " has " + std::to_string(account.used[i]) + more +
                     "limits.in_all." + name);
  }
  account.used[i] += amount;
  all_.used[i] += amount;
  return {};
}

void Ledger::give_back(uid_t uid, Resource resource, std::uint64_t amount) noexcept {
  const std::size_t i = index_of(resource);
  const auto at = accounts_.find(uid);
  assert(at != accounts_.end() && amount <= at->second.used[i]);
  if (at == accounts_.end()) return;
  amount = std::min(amount, at->second.used[i]);
  at->second.used[i] -= amount;
  all_.used[i] -= amount;
}

Result<void> Ledger::request(uid_t uid, std::uint64_t now_ns) {
  const auto& [name, value] = request_field();
  Account& account = accounts_[uid];
  const std::uint64_t rate_hz = limits_of(uid).*value;
  if (!account.requests.ready(now_ns, rate_hz)) {
    return exhausted(name_of(uid) + " sends more than " + std::to_string(rate_hz) +
                     " requests a second; send fewer, or raise " + key_of(uid, name));
  }
  const std::uint64_t rate_of_all_hz = limits_.in_all.*value;
  if (!all_.requests.take(now_ns, rate_of_all_hz)) {
    return exhausted("all users together send more than " + std::to_string(rate_of_all_hz) +
                     " requests a second; send fewer, or raise limits.in_all." + name);
  }
  account.requests.take(now_ns, rate_hz);
  return {};
}

Result<void> Ledger::check_stream(uid_t uid, std::uint64_t payload_bytes) const {
  const Limits& limits = limits_of(uid);
  const auto& [bytes_name, bytes] = kStreamLimitFields[0];
  const auto& [rate_name, rate] = kStreamLimitFields[1];
  // Slots are planned in whole lines, so that they have up to a line more than was asked for.
  constexpr std::uint64_t kLine = 64;
  if (payload_bytes >= kLine && payload_bytes - kLine >= limits.*bytes) {
    return exhausted(name_of(uid) + " may have messages of " + std::to_string(limits.*bytes) +
                     " bytes and this stream has room for " + std::to_string(payload_bytes) +
                     "; make its slots smaller, or raise " + key_of(uid, bytes_name));
  }
  if (limits.*rate != 0) return {};
  return exhausted(name_of(uid) + " may publish no messages; raise " + key_of(uid, rate_name));
}

std::uint64_t Ledger::used(uid_t uid, Resource resource) const noexcept {
  const auto at = accounts_.find(uid);
  return at == accounts_.end() ? 0 : at->second.used[index_of(resource)];
}

std::uint64_t Ledger::used_in_all(Resource resource) const noexcept {
  return all_.used[index_of(resource)];
}

const Limits& Ledger::limits_of(uid_t uid) const noexcept {
  const auto own = limits_.users.find(uid);
  return own == limits_.users.end() ? limits_.each_user : own->second.limits;
}

std::string Ledger::name_of(uid_t uid) const {
  const auto own = limits_.users.find(uid);
  const std::string number = "uid " + std::to_string(uid);
  return own == limits_.users.end() ? "the user with " + number
                                    : "user '" + own->second.name + "' (" + number + ")";
}

std::string Ledger::key_of(uid_t uid, const char* limit) const {
  const auto own = limits_.users.find(uid);
  if (own != limits_.users.end()) return "limits.user." + own->second.name + "." + limit;
  return std::string("limits.each_user.") + limit + ", or limits.user.<name>." + limit +
         " for this one alone";
}

}  // namespace sluice::broker
