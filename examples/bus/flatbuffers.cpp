// Publishes a FlatBuffer, and reads it where it lies. flatc made the header of reading.fbs.
#include <reading_generated.h>

#include <chrono>
#include <cstdio>
#include <sluice/codec.hpp>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr const char* kType = "example.Reading";

int fail(const std::string& sentence) { return std::fprintf(stderr, "%s\n", sentence.c_str()), 1; }

// Null where it is no Reading. What comes from processes that are not trusted is copied first, and
// the copy verified: its sender could change it meanwhile.
const example::Reading* reading_of(const sluice::Message& message) {
  const auto verify = [](const std::uint8_t* data, std::size_t size) {
    flatbuffers::Verifier verifier{data, size};
    return example::VerifyReadingBuffer(verifier);
  };
  return sluice::flatbuffer_of(message, sluice::type_hash_of_name(kType), verify,
                               [](const void* data) { return example::GetReading(data); });
}

}  // namespace

int main() {
  using namespace std::chrono_literals;
  auto node = sluice::Node::create({.name = "readings"});
  if (!node) return fail(node.error().message);
  auto publisher = sluice::MessagePublisher::create(*node, "room/readings",
                                                    sluice::flatbuffer_publisher(kType, 4'096));
  if (!publisher) return fail(publisher.error().message);
  auto subscriber = sluice::MessageSubscriber::create(*node, "room/+");
  if (!subscriber) return fail(subscriber.error().message);
  while (publisher->stream().subscriber_count() == 0) std::this_thread::sleep_for(1ms);

  flatbuffers::FlatBufferBuilder builder;
  const auto values = builder.CreateVector(std::vector<double>{20.5, 21, 21.5});
  builder.Finish(example::CreateReading(builder, 7, values));
  const sluice::Outcome outcome = publish_flatbuffer(*publisher, builder);
  if (outcome != sluice::Outcome::ok) return fail(to_string(outcome));

  const sluice::Message message = subscriber->receive(std::chrono::steady_clock::now() + 5s);
  const example::Reading* reading = reading_of(message);
  if (reading == nullptr || reading->values() == nullptr) return fail("that is no reading");
  for (const double value : *reading->values()) {
    std::printf("sensor %u: %.1f °C\n", reading->sensor(), value);
  }
  return 0;
}
