// Settings that several processes share: one keeps them, one changes them, one watches. Here the
// three are in one program.
#include <chrono>
#include <cstdio>
#include <sluice/state.hpp>
#include <string>
#include <thread>

namespace {

using namespace std::chrono_literals;

int fail(const std::string& sentence) { return std::fprintf(stderr, "%s\n", sentence.c_str()), 1; }

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}

std::string text(std::span<const std::byte> value) {
  return {reinterpret_cast<const char*>(value.data()), value.size()};
}

// Adds one, whatever others do meanwhile.
sluice::Status increment(sluice::State& settings, const char* key) {
  for (;;) {
    const sluice::StateValue now = settings.get(key);
    if (!now.status.ok()) return now.status;
    const std::string next = std::to_string(std::stoi(text(now.value)) + 1);
    const sluice::StateValue set = settings.compare_and_set(key, bytes(next), now.revision);
    if (set.status.code != sluice::StatusCode::aborted) return set.status;
  }
}

int change(sluice::Node& node) {
  auto settings = sluice::State::create(node, "settings");
  if (!settings) return fail(settings.error().message);
  auto watch = sluice::StateWatch::create(node, "settings", "camera/#");
  if (!watch) return fail(watch.error().message);

  const sluice::StateValue set = settings->set("camera/front/rate", bytes("29"));
  if (!set.status.ok()) return fail(set.status.message);
  if (const auto status = increment(*settings, "camera/front/rate"); !status.ok()) {
    return fail(status.message);
  }
  bool seen = false;
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!seen && std::chrono::steady_clock::now() < deadline) {
    (void)watch->step(deadline, [&](const sluice::StateChange& change) {
      std::printf("%s = %s\n", std::string{change.key}.c_str(), text(change.value).c_str());
      seen = text(change.value) == "30";  // of quick changes the last one at least
    });
  }
  return seen ? 0 : fail("the change was not seen");
}

}  // namespace

int main() {
  auto keeper_node = sluice::Node::create({.name = "settings"});
  auto node = sluice::Node::create({.name = "program"});
  if (!keeper_node) return fail(keeper_node.error().message);
  if (!node) return fail(node.error().message);
  auto keeper = sluice::StateKeeper::create(*keeper_node, "settings");
  if (!keeper) return fail(keeper.error().message);
  std::thread keeping([&] {
    if (auto ran = (*keeper)->run(); !ran) (void)fail(ran.error().message);
  });
  const int result = change(*node);
  (*keeper)->stop();
  keeping.join();
  return result;
}
