// ZeroMQ over ipc: PUSH and PULL for one reader, XPUB and SUB for several (which waits instead of
// dropping where nothing may get lost: ZMQ_XPUB_NODROP), REQ and REP for requests.
//
// The message is written in place (zmq_msg_init_size) and read in place; between them libzmq copies
// it into and out of a Unix socket in an I/O thread of its own on each side. A receive always
// blocks, also in the polling workloads: to spin with ZMQ_DONTWAIT on two cores would keep the I/O
// threads from running.
#include "tests/bench/cell.hpp"

#include <unistd.h>
#include <zmq.h>

#include <cerrno>
#include <stdexcept>

namespace sluice::bench {
namespace {

void require_zmq(bool condition, const char* what) {
  if (!condition) {
    throw std::runtime_error(std::string("zmq: ") + what + ": " + zmq_strerror(zmq_errno()));
  }
}

/// A context with one I/O thread and one socket in it.
class Socket {
 public:
  Socket(int type, const Channel& channel)
      : context_(zmq_ctx_new()), socket_(zmq_socket(context_, type)) {
    require_zmq(socket_ != nullptr, "socket");
    // The small ones keep libzmq's default of 1,000 waiting messages; frames would take 6 GB.
    if (channel.message_bytes >= 65'536) {
      const int mark = static_cast<int>(channel.depth);
      set(ZMQ_SNDHWM, mark);
      set(ZMQ_RCVHWM, mark);
    }
    set(ZMQ_LINGER, 0);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  void set(int option, int value) {
    require_zmq(zmq_setsockopt(socket_, option, &value, sizeof value) == 0, "setsockopt");
  }
  void* get() const { return socket_; }

 private:
  void* context_;
  void* socket_;
};

/// Receives into a message that it owns.
class Message {
 public:
  Message() { zmq_msg_init(&message_); }
  explicit Message(std::size_t bytes) {
    require_zmq(zmq_msg_init_size(&message_, bytes) == 0, "message");
  }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  ~Message() { zmq_msg_close(&message_); }
  zmq_msg_t* get() { return &message_; }
  std::span<std::byte> bytes() {
    return {static_cast<std::byte*>(zmq_msg_data(&message_)), zmq_msg_size(&message_)};
  }

 private:
  zmq_msg_t message_{};
};

class ZmqSender {
 public:
  ZmqSender(const Channel& channel, const std::string& address)
      : socket_(channel.readers > 1 ? ZMQ_XPUB : ZMQ_PUSH, channel), readers_(channel.readers) {
    // Every subscription is reported, not only the first of its kind: connect() counts them.
    if (readers_ > 1) socket_.set(ZMQ_XPUB_VERBOSE, 1);
    if (readers_ > 1 && channel.lossless) socket_.set(ZMQ_XPUB_NODROP, 1);
    require_zmq(zmq_bind(socket_.get(), address.c_str()) == 0, "bind");
  }
  /// XPUB tells of every subscription; without them the first messages would go nowhere.
  void connect() {
    for (unsigned i = 0; readers_ > 1 && i < readers_; ++i) {
      Message subscription;
      require_zmq(zmq_msg_recv(subscription.get(), socket_.get(), 0) >= 0, "subscription");
    }
  }
  std::span<std::byte> prepare(std::size_t bytes) {
    message_.emplace(bytes);
    return message_->bytes();
  }
  void send() {
    int sent = -1;
    do {
      sent = zmq_msg_send(message_->get(), socket_.get(), 0);
    } while (sent < 0 && zmq_errno() == EINTR);
    require_zmq(sent >= 0, "send");
  }

 private:
  Socket socket_;
  const unsigned readers_;
  std::optional<Message> message_;
};

class ZmqReceiver {
 public:
  ZmqReceiver(const Channel& channel, const std::string& address)
      : socket_(channel.readers > 1 ? ZMQ_SUB : ZMQ_PULL, channel) {
    if (channel.readers > 1) {
      require_zmq(zmq_setsockopt(socket_.get(), ZMQ_SUBSCRIBE, "", 0) == 0, "subscribe");
    }
    require_zmq(zmq_connect(socket_.get(), address.c_str()) == 0, "connect");
  }
  void connect() {}
  std::span<const std::byte> poll() { return wait(); }
  std::span<const std::byte> wait() {
    if (zmq_msg_recv(message_.get(), socket_.get(), 0) < 0) {
      require_zmq(zmq_errno() == EINTR, "receive");
      return {};
    }
    return message_.bytes();
  }
  void release() {
    zmq_msg_close(message_.get());
    zmq_msg_init(message_.get());
  }

 private:
  Socket socket_;
  Message message_;
};

/// REQ or REP: takes turns at sending and receiving.
class ZmqRequests {
 public:
  ZmqRequests(int type, const Channel& channel, const std::string& address)
      : socket_(type, channel) {
    require_zmq(type == ZMQ_REP ? zmq_bind(socket_.get(), address.c_str()) == 0
                                : zmq_connect(socket_.get(), address.c_str()) == 0,
                "address");
  }
  void connect() {}
  std::span<std::byte> prepare(std::size_t bytes) {
    sent_.emplace(bytes);
    return sent_->bytes();
  }
  void send() {
    int sent = -1;
    do {
      sent = zmq_msg_send(sent_->get(), socket_.get(), 0);
    } while (sent < 0 && zmq_errno() == EINTR);
    require_zmq(sent >= 0, "send");
  }
  std::span<const std::byte> poll() { return wait(); }
  std::span<const std::byte> wait() {
    if (zmq_msg_recv(received_.get(), socket_.get(), 0) < 0) {
      require_zmq(zmq_errno() == EINTR, "receive");
      return {};
    }
    return received_.bytes();
  }
  void release() {
    zmq_msg_close(received_.get());
    zmq_msg_init(received_.get());
  }

 private:
  Socket socket_;
  std::optional<Message> sent_;
  Message received_;
};

class ZeroMq {
 public:
  explicit ZeroMq(const CellContext& cell) : directory_(cell.directory) {}
  void enter(unsigned) {}
  auto sender(const Channel& channel) {
    return std::make_unique<ZmqSender>(channel, address_of(channel));
  }
  auto receiver(const Channel& channel, unsigned) {
    return std::make_unique<ZmqReceiver>(channel, address_of(channel));
  }
  auto asker(const Channel& channel) {
    return std::make_unique<ZmqRequests>(ZMQ_REQ, channel, address_of(channel));
  }
  auto answerer(const Channel& channel) {
    return std::make_unique<ZmqRequests>(ZMQ_REP, channel, address_of(channel));
  }
  std::vector<pid_t> daemons() { return {}; }

 private:
  std::string address_of(const Channel& channel) const {
    return "ipc://" + directory_ + "/channel-" + std::to_string(channel.index);
  }
  const std::string directory_;
};

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  using namespace sluice::bench;
  return cell_main(argc, argv, {{"zmq", make_peer<ZeroMq>()}});
}
