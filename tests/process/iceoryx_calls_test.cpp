// Requests through the gateway, both ways.
#include "sluice/requester.hpp"
#include "sluice/responder.hpp"
#include "tests/process/iceoryx_fixture.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <span>

namespace sluice::test {
namespace {

// As the examples have them in request_and_response_types.hpp.
struct AddRequest {
  std::uint64_t augend = 0, addend = 0;
};
struct AddResponse {
  std::uint64_t sum = 0;
};

class IceoryxCalls : public Iceoryx {
 protected:
  static constexpr const char* kAsked = R"(
[[service]]
from = "iceoryx"
service = "Example"
instance = "Request-Response"
event = "Add"
name = "math/add"
reply_bytes = 64
)";
  static constexpr const char* kAsking = R"(
[[service]]
from = "sluice"
service = "Example"
name = "iceoryx/{event}"
timeout_ms = 300
)";
  static std::unique_ptr<Responder> adder(Node& node) {
    auto made = Responder::create(node, "math/add", [](Request& request) {
      AddRequest asked;
      EXPECT_EQ(request.payload().size(), sizeof asked);
      std::memcpy(&asked, request.payload().data(), sizeof asked);
      const AddResponse sum{asked.augend + asked.addend};
      EXPECT_EQ(request.reply(std::as_bytes(std::span{&sum, 1})), Outcome::ok);
    });
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  static std::unique_ptr<Requester> requester(Node& node) {
    auto made = Requester::create(node, "iceoryx/Add");
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  static Reply add(Requester& requester, std::uint64_t a, std::uint64_t b) {
    const AddRequest request{a, b};
    return requester.call(std::as_bytes(std::span{&request, 1}));
  }
  // Until it answers, since it takes a moment until two have found each other.
  static testing::AssertionResult adds(Requester& requester) {
    Reply reply;
    const bool ok = eventually(
        [&] {
          reply = add(requester, 40, 2);
          return static_cast<bool>(reply);
        },
        kPatience);
    if (!ok) return testing::AssertionFailure() << reply.status.message;
    AddResponse sum;
    if (reply.payload().size() != sizeof sum) return testing::AssertionFailure() << "another size";
    std::memcpy(&sum, reply.payload().data(), sizeof sum);
    return sum.sum == 42 ? testing::AssertionSuccess() : testing::AssertionFailure() << sum.sum;
  }
};

TEST_F(IceoryxCalls, AnIceoryxClientIsAnsweredByASluiceResponder) {
  start_roudi();
  const auto gateway = start_gateway(kAsked);
  Node me = node("adder");
  const auto responder = adder(me);
  const auto client = start({example("client-cxx-basic")});
  EXPECT_TRUE(eventually(
      [&] {
        (void)responder->step(in(20ms));
        return numbers(client->out(), "Got Response : ").size() >= 3;
      },
      kPatience))
      << gateway->err() << client->out();
  auto got = numbers(client->out(), "Got Response : ");
  got.resize(3);
  EXPECT_EQ(got, (std::vector<double>{1, 2, 3})) << "Fibonacci's, as the example asks";
}

TEST_F(IceoryxCalls, AnIceoryxClientLearnsThatNobodyAnswers) {
  start_roudi();
  const auto gateway = start_gateway(kAsked);
  const auto client = start({example("client-cxx-waitset")});
  // The example does not look at the mark; it sees the zeros.
  EXPECT_TRUE(
      eventually([&] { return !numbers(client->out(), "Got Response : ").empty(); }, kPatience))
      << gateway->err() << client->out();
  EXPECT_EQ(numbers(client->out(), "Got Response : ").front(), 0);
  EXPECT_EQ(gateway->end(), 0);
}

TEST_F(IceoryxCalls, ASluiceRequesterIsAnsweredByAnIceoryxServer) {
  start_roudi();
  const auto gateway = start_gateway(kAsking);
  Node me = node("asker");
  const auto asker = requester(me);
  EXPECT_EQ(add(*asker, 1, 1).status.code, StatusCode::unavailable) << "nobody is there";
  auto server = start({example("server-cxx-listener")});
  EXPECT_TRUE(adds(*asker)) << gateway->err() << server->out();
  // Dead servers are gone, and the next one is found.
  let_rest(server->pid());
  server->end(SIGKILL);
  EXPECT_TRUE(eventually([&] { return add(*asker, 1, 1).status.code == StatusCode::unavailable; },
                         kPatience))
      << gateway->err();
  server = start({example("server-cxx-basic")});
  EXPECT_TRUE(adds(*asker)) << gateway->err() << server->out();
}

TEST_F(IceoryxCalls, AServerThatDoesNotAnswerIsATimeout) {
  start_roudi();
  const auto gateway = start_gateway(kAsking);
  Node me = node("asker");
  const auto asker = requester(me);
  const auto server = start({example("server-cxx-listener")});
  ASSERT_TRUE(adds(*asker)) << gateway->err() << server->out();
  server->freeze();
  const Reply reply = add(*asker, 1, 1);
  EXPECT_EQ(reply.status.code, StatusCode::deadline_exceeded) << reply.status.message;
  EXPECT_NE(reply.status.message.find("did not answer"), std::string::npos);
}

}  // namespace
}  // namespace sluice::test
