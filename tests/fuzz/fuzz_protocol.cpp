// A broker and three clients that send whatever the input says: packets of any bytes, and messages
// that are well formed but come in any order, with ids, topics and descriptors out of a few.
//
// Whatever comes, the broker stays consistent: what it knows belongs together, and when all clients
// have gone it knows nothing any more.
#include "daemons/sluiced/broker.hpp"
#include "shm/geometry.hpp"
#include "shm/layout.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/support/must.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace sluice::fuzz {
namespace {

using namespace broker;
using protocol::Body;
using test::must;
using transport::make_message;
using transport::Message;

constexpr int kMostSteps = 200;

// What clients hand over; made once.
struct Things {
  std::vector<std::uint64_t> stream_ids;
  std::vector<std::vector<SharedFd>> streams;
  SharedFd arena;
  SharedFd other = transport::share(shm::UniqueFd{::open("/dev/null", O_RDWR | O_CLOEXEC)});
  std::vector<shm::Segment> memory;

  Things() {
    for (int i = 0; i < 3; ++i) {
      StreamOptions options;
      options.pools = {{64}};
      const shm::Geometry geometry = must(shm::plan(options));
      shm::Segment control = must(shm::Segment::create("control", geometry.control_bytes));
      shm::write_header(geometry, control.data());
      shm::Segment pool = must(shm::Segment::create("pool", geometry.pools[0].pool_bytes));
      stream_ids.push_back(geometry.stream_id);
      streams.push_back(
          {transport::share(must(control.share())), transport::share(must(pool.share()))});
      memory.push_back(std::move(control));
      memory.push_back(std::move(pool));
    }
    memory.push_back(must(shm::Segment::create("arena", 4096)));
    arena = transport::share(must(memory.back().share()));
  }
};

const Things& things() {
  static const Things all;
  return all;
}

class Client {
 public:
  Client(Broker& broker, Id id) {
    std::array<int, 2> ends{};
    must(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0
             ? Result<void>{}
             : Result<void>{shm::system_error("socketpair")});
    broker.adopt(shm::UniqueFd{ends[0]});
    connection_ = transport::Connection{shm::UniqueFd{ends[1]}};
    if (id == 0) return;
    protocol::HelloT hello;
    hello.protocol = transport::kProtocolVersion;
    hello.layout = shm::kLayoutVersion;
    hello.node_id = id;
    hello.node = "fuzz";
    hello.capabilities = {"one", "two"};
    hello.last_words = "gone";
    send(make_message(std::move(hello), 1));
  }
  void send(const Message& message, const std::vector<SharedFd>& fds = {}) {
    (void)connection_.send(message, fds);
  }
  void send_raw(const std::vector<std::uint8_t>& bytes) const {
    (void)::send(connection_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  // Reads all; remembers what was asked last.
  void read() {
    for (;;) {
      auto received = connection_.receive();
      if (!received || !*received) return;
      if ((*received)->message.body.type == Body::Admit) asked_ = (*received)->message.request;
    }
  }
  [[nodiscard]] std::uint32_t asked() const { return asked_; }

 private:
  transport::Connection connection_;
  std::uint32_t asked_ = 0;
};

class Program {
 public:
  explicit Program(Input& in) : in_(in), broker_(loop_, everything(), generous()) {}

  void run() {
    for (int i = 0; i < kMostSteps && !in_.empty(); ++i) {
      std::optional<Client>& client = clients_[in_.below(3)];
      if (!client) {
        client.emplace(broker_, in_.byte() % 8 == 0 ? 0 : 1 + in_.below(4));
      } else {
        step(client);
      }
      turn();
      check();
    }
    for (auto& client : clients_) client.reset();
    turn();
    turn();
    require(broker_.session_count() == 0, "sessions end with their clients");
    require(broker_.registry().nodes().empty() && broker_.registry().streams().empty() &&
                broker_.registry().subscriptions().empty() && broker_.registry().watches().empty(),
            "nothing is known when all have gone");
  }

 private:
  static Policy everything() { return Policy{{}, ::geteuid(), ::getegid()}; }
  static Policy little() {
    Rule rule;
    rule.filters = {"a/#"};
    return Policy{Rules{"fuzz", {rule}, {}}, ::geteuid(), ::getegid()};
  }
  static LimitTable generous() {
    LimitTable limits;
    limits.each_user.requests_per_second = kMaxRequestsPerSecond;
    limits.in_all.requests_per_second = kMaxRequestsPerSecond;
    return limits;
  }
  void turn() {
    for (int i = 0; i < 2; ++i) {
      must(loop_.run_once(0));
      for (auto& client : clients_) {
        if (client) client->read();
      }
    }
  }

  std::string topic() {
    constexpr std::array kTopics{"a", "a/b", "b", "#", "a/+", "$sys", "", "a/#"};
    return kTopics[in_.below(kTopics.size())];
  }
  Id stream() { return in_.byte() % 16 == 0 ? in_.word() : things().stream_ids[in_.below(3)]; }
  Id subscription() { return 20 + in_.below(4); }
  std::vector<SharedFd> fds(std::vector<SharedFd> right) {
    const std::uint8_t change = in_.byte();
    if (change % 8 != 0) return right;
    if (change % 16 == 0 || right.empty()) {
      right.push_back(change % 3 == 0 ? things().other : things().arena);
    } else {
      right.pop_back();
    }
    return right;
  }

  void step(std::optional<Client>& client) {
    const std::uint32_t number = in_.byte() % 4 == 0 ? 0 : 1 + in_.below(100);
    switch (in_.byte() % 17) {
      case 0:
        return client.reset();
      case 1: {
        std::vector<std::uint8_t> bytes(in_.below(600) + std::size_t{1});
        in_.copy(bytes.data(), bytes.size());
        return client->send_raw(bytes);
      }
      case 2:
        return broker_.replace(in_.byte() % 2 == 0 ? everything() : little(), generous());
      case 3:
        return client->send(changed(), {});
      case 4: {
        protocol::WithdrawT body;
        body.stream_id = stream();
        return client->send(make_message(body, number));
      }
      case 5:
        return advertise(*client, number);
      case 6:
        return subscribe(*client, number);
      case 7: {
        protocol::UnsubscribeT body;
        body.subscription_id = subscription();
        return client->send(make_message(body, number));
      }
      case 8:
      case 9: {
        protocol::AttachT body;
        body.subscription_id = subscription();
        body.stream_id = stream();
        body.arena_bytes = 4096;
        return client->send(make_message(body, number), fds({things().arena}));
      }
      case 10: {
        protocol::DetachT body;
        body.subscription_id = subscription();
        body.stream_id = stream();
        return client->send(make_message(body, number));
      }
      case 11: {
        protocol::AdmittedT body;
        body.arena_bytes = 4096;
        return client->send(make_message(body, client->asked()), fds({things().arena}));
      }
      case 12:
        return client->send(make_message(protocol::FailedT{}, client->asked()));
      case 13: {
        protocol::WatchT body;
        body.watch_id = 40 + in_.below(3);
        body.filter = topic();
        body.counters = in_.byte() % 2 == 0;
        return client->send(make_message(body, number));
      }
      case 14: {
        protocol::AddPoolT body;
        body.stream_id = stream();
        body.pool = 1 + in_.below(3);
        return client->send(make_message(body, number), fds({things().arena}));
      }
      case 15:
        return client->send(make_message(protocol::GoodbyeT{}, number));
      default: {
        protocol::HeldArenaT body;
        body.subscription_id = subscription();
        body.stream_id = stream();
        return client->send(make_message(body), fds({things().arena}));
      }
    }
  }
  void advertise(Client& client, std::uint32_t number) {
    const std::uint32_t which = in_.below(3);
    protocol::AdvertiseT body;
    body.stream_id = in_.byte() % 16 == 0 ? in_.word() : things().stream_ids[which];
    body.topic = topic();
    body.offer = std::make_unique<protocol::OfferT>();
    body.offer->next = in_.byte() % 4 != 0;
    body.offer->sensitive = in_.byte() % 4 == 0;
    body.offer->planned_bytes = in_.hostile(4096);
    client.send(make_message(std::move(body), number), fds(things().streams[which]));
  }
  void subscribe(Client& client, std::uint32_t number) {
    protocol::SubscribeT body;
    body.subscription_id = subscription();
    for (std::uint32_t i = in_.below(4); i > 0; --i) body.filters.push_back(topic());
    body.want = std::make_unique<protocol::WantT>();
    body.want->mode = static_cast<protocol::Mode>(in_.below(6));
    body.want->recorder = in_.byte() % 4 == 0;
    for (std::uint32_t i = in_.below(3); i > 0; --i) {
      body.attached.emplace_back(stream(), in_.hostile(64), std::uint64_t{4096});
    }
    client.send(make_message(std::move(body), number));
  }
  // A message of the kind that the number says, empty.
  Message changed() {
    protocol::EvictedT body;
    body.stream_id = stream();
    body.subscription_id = subscription();
    return make_message(body, in_.below(3));
  }

  void check() {
    const Registry& registry = broker_.registry();
    for (const auto& [id, node] : registry.nodes()) {
      for (const Id stream : node.streams) {
        require(registry.stream(stream) != nullptr && registry.stream(stream)->node == id,
                "a node's stream is there, and its own");
      }
      for (const Id subscription : node.subscriptions) {
        require(registry.subscription(subscription) != nullptr &&
                    registry.subscription(subscription)->node == id,
                "a node's subscription is there, and its own");
      }
    }
    for (const auto& [id, stream] : registry.streams()) {
      require(registry.node(stream.node) != nullptr, "a stream has a node");
      std::uint32_t matching = 0;
      for (const auto& [key, subscription] : registry.subscriptions()) {
        matching += subscription.attached.contains(id) || subscription.found.contains(id);
      }
      require(stream.matching == matching, "a stream's subscriptions are counted");
    }
    for (const auto& [id, subscription] : registry.subscriptions()) {
      require(registry.node(subscription.node) != nullptr, "a subscription has a node");
      for (const Id stream : subscription.attached) {
        require(registry.stream(stream) != nullptr && registry.attachment(stream, id) != nullptr,
                "what is attached is there");
      }
    }
  }

  Input& in_;
  EventLoop loop_ = must(EventLoop::create());
  Broker broker_;
  std::array<std::optional<Client>, 3> clients_;
};

// The bytes as one message: whatever can be read can be written, and read again.
void decode_once(const std::uint8_t* data, std::size_t size) {
  auto message = transport::decode({reinterpret_cast<const std::byte*>(data), size});
  if (!message) return;
  const auto again = transport::encode(*message);
  require(again.size() > transport::kMaxMessageBytes || transport::decode(again).has_value(),
          "what was read can be written");
}

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::fuzz;
  decode_once(data, size);
  Input in{data, size};
  Program{in}.run();
  return 0;
}
