// The broker's configuration: arbitrary text either is refused at a place in it, or makes a policy
// whose answers hang together, whatever the names of those who ask.
#include "daemons/sluiced/config.hpp"
#include "sluice/topic.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/support/accounts.hpp"

#include <array>
#include <string>

namespace sluice::fuzz {
namespace {

using namespace broker;

constexpr std::array<const char*, 8> kNodes{"front", "cam-1", "", "a/b", "#", "+", "$sys", "%u"};
constexpr std::array<const char*, 10> kFilters{"#",      "+/#",   "a",     "a/b/c",         "a/#",
                                               "$sys/#", "a/+/c", "front", "home/camera/x", "+"};

void check(const Policy& policy, const Identity& who) {
  const bool in = policy.may_connect(who).allowed;
  for (const NamedAction& named : kActions) {
    for (const char* filter : kFilters) {
      const Verdict verdict = policy.may(who, named.action, filter);
      require(verdict.allowed == verdict.reason.empty(), "a refusal has a reason, and only that");
      require(in || !verdict.allowed, "who may not connect may nothing else");
      if (!verdict.allowed) continue;
      // What is part of what is allowed is allowed.
      for (const char* part : kFilters) {
        if (!filter_includes(filter, part)) continue;
        require(policy.may(who, named.action, part).allowed,
                "a part of what is allowed is allowed");
      }
    }
    require(!policy.may(who, named.action, "a/#/b"), "what is invalid is not allowed");
  }
}

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  using namespace sluice::fuzz;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto config = parse_config(text, "fuzz", test::made_up_accounts());
  if (!config) {
    require(config.error().message.rfind("fuzz", 0) == 0, "an error has a place");
    return 0;
  }
  for (const auto& [uid, own] : config->limits.users) {
    require(!own.name.empty() && uid >= test::kFirstId, "a user with limits exists");
  }
  const Policy policy(config->rules, 5, 6);
  for (const char* node : kNodes) {
    check(policy, {1000, 1002, {1001}, 1, "camera", node});
    check(policy, {7, 7, {}, 1, node, node});
    check(policy, {5, 7, {}, 1, "", node});
  }
  return 0;
}
