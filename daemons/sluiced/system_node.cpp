// The thread sleeps in poll() on two descriptors, the node's and the queue's, and does the node's
// work itself (background_thread = false): one thread in all. It keeps off the log, whose logger
// the loop replaces when the configuration is read again; what it has to say goes back through a
// queue.
//
// A reader that is too slow is evicted; `$sys` waits for nobody.
#include "daemons/sluiced/system_node.hpp"

#include "daemons/sluiced/log.hpp"
#include "shm/memory.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/version.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <utility>

namespace sluice::broker {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kConnect{200};  // then it is looked whether the broker ends
constexpr int kPause = 100;                         // ms, where it could not connect

struct Shape {
  std::uint32_t depth;
  std::uint32_t history;
  bool retained;
};

constexpr std::array<Shape, kSystemTopics> kShapes{{
    {256, 256, false},  // nodes
    {512, 64, false},   // access
    {8, 1, true},       // stats
}};

MessagePublisherOptions options_of(const Shape& shape) {
  MessagePublisherOptions options;
  options.codec = Codec::json;
  options.retained = shape.retained;
  StreamOptions& stream = options.stream;
  stream.lanes = {{8, 0}, {8, 0}, {shape.depth, shape.history}, {8, 0}};
  // The large ones for hostile texts: each byte of one can need six.
  stream.pools = {{1'024}, {64 * 1'024, 16}};
  stream.max_readers = 256;
  stream.max_held = 64;
  stream.on_full = OnFull::evict;
  stream.type_name = "json";
  return options;
}

void drain(const shm::UniqueFd& event) {
  eventfd_t ignored = 0;
  (void)::eventfd_read(event.get(), &ignored);
}

}  // namespace

SystemNode::SystemNode(EventLoop& loop, std::string socket)
    : loop_(loop), socket_(std::move(socket)) {}

SystemNode::~SystemNode() {
  stop();
  loop_.forget(said_token_);
}

Result<void> SystemNode::start() {
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  said_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.valid() || !said_.valid()) return shm::system_error("an eventfd for $sys");
  auto token = loop_.watch(said_.get(), EPOLLIN, [this](std::uint32_t) {
    drain(said_);
    while (const auto line = lines_.pop()) daemon::log(line->level, "$sys: " + line->text);
  });
  if (!token) return std::move(token).error();
  said_token_ = *token;
  thread_ = std::thread([this] { run(); });
  return {};
}

void SystemNode::tell(SystemEvent event) {
  if (!thread_.joinable()) return;
  events_.push(std::move(event));
  (void)::eventfd_write(wake_.get(), 1);
}

void SystemNode::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true);
  (void)::eventfd_write(wake_.get(), 1);
  thread_.join();
}

void SystemNode::say(LogLevel level, std::string sentence) {
  lines_.push({level, std::move(sentence)});
  (void)::eventfd_write(said_.get(), 1);
}

void SystemNode::run() {
  NodeOptions options;
  options.name = kName;
  options.socket = socket_;
  options.background_thread = false;
  options.connect_timeout = kConnect;
  options.version = SLUICE_VERSION_STRING;
  options.capabilities = {"broker"};
  options.log = [this](LogLevel level, std::string_view text) { say(level, std::string(text)); };
  bool complained = false;
  while (!stopping_.load()) {
    Publishers publishers;
    auto node = Node::create(options);
    std::string why = node ? "" : node.error().message;
    for (std::size_t i = 0; i < kSystemTopics && why.empty(); ++i) {
      auto publisher = MessagePublisher::create(*node, to_string(static_cast<SystemTopic>(i)),
                                                options_of(kShapes[i]));
      if (publisher) {
        publishers[i] = std::make_unique<MessagePublisher>(std::move(*publisher));
      } else {
        why = publisher.error().message;
      }
    }
    if (why.empty()) return serve(*node, publishers);
    if (!std::exchange(complained, true)) {
      say(LogLevel::warning, "cannot be published yet: " + why);
    }
    pollfd stop{wake_.get(), 0, 0};
    (void)::poll(&stop, 1, kPause);
  }
}

void SystemNode::serve(Node& node, Publishers& publishers) {
  while (!stopping_.load()) {
    std::array<pollfd, 2> ready{{{node.fd(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
    (void)::poll(ready.data(), ready.size(), -1);
    if (ready[0].revents != 0) node.dispatch();
    drain(wake_);
    publish_queued(publishers);
  }
  publish_queued(publishers);
}

void SystemNode::publish_queued(Publishers& publishers) {
  while (const auto event = events_.pop()) publish(publishers, *event);
  const std::uint64_t lost = events_.take_lost();
  if (lost == 0) return;
  SystemEvent event;
  event.what = "lost";
  event.count = lost;
  event.time_ns = wall_clock_ns();
  for (const SystemTopic topic : {SystemTopic::nodes, SystemTopic::access}) {
    event.topic = topic;
    publish(publishers, event);
  }
}

void SystemNode::publish(Publishers& publishers, const SystemEvent& event) {
  MessagePublisher& publisher = *publishers[static_cast<std::size_t>(event.topic)];
  (void)publisher.publish(to_json(event));
}

}  // namespace sluice::broker
