#include "transport/handshake.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "transport/packet.hpp"

namespace sluice::transport {
namespace {

constexpr std::uint32_t kMagic = 0x3155'4c53;  // "SLU1"

enum class Kind : std::uint32_t { hello = 1, offer, page, admitted, refusal };

struct Header {
  std::uint32_t magic = kMagic;
  Kind kind{};
};

struct Hello {
  Header header{kMagic, Kind::hello};
  std::uint32_t layout_version = shm::kLayoutVersion;
  std::uint32_t mode = 0;
  std::uint32_t max_held = 0;
  std::uint32_t history = 0;
  std::uint64_t type_hash = 0;
  std::uint32_t credits = 0;
  std::uint32_t flags = 0;
  char group[32] = {};  // ends with NUL
};

constexpr std::uint32_t kDurable = 1;
constexpr std::uint32_t kRecorder = 2;

struct Offer {
  Header header{kMagic, Kind::offer};
};

struct Page {
  Header header{kMagic, Kind::page};
  std::uint64_t arena_bytes = 0;
  std::uint64_t offset = 0;
};

struct Admitted {
  Header header{kMagic, Kind::admitted};
  std::uint64_t arena_bytes = 0;
  std::uint64_t offset = 0;
};

struct Refusal {
  Header header{kMagic, Kind::refusal};
  char why[504] = {};
};
static_assert(sizeof(Refusal) <= kMaxPacketBytes);

template <class T>
Result<void> send(int socket, const T& message, std::span<const int> descriptors,
                  std::uint64_t deadline_ns) {
  return send_packet(socket, std::as_bytes(std::span{&message, 1}), descriptors, deadline_ns);
}

// Tells the other side as far as that is possible, and passes the error on.
Error refuse(int socket, Error error, std::uint64_t deadline_ns) {
  Refusal refusal;
  std::memcpy(refusal.why, error.message.data(),
              std::min(error.message.size(), sizeof refusal.why - 1));
  (void)send(socket, refusal, {}, deadline_ns);
  return error;
}

Error malformed(const char* what) {
  return Error{Errc::untrusted, 0, std::string("what arrived is not a valid ") + what};
}

// The packet as a T, or the reason why it is none.
template <class T>
Result<T> expect(const Packet& packet, const char* what, std::size_t min_descriptors,
                 std::size_t max_descriptors) {
  Header header;
  if (packet.bytes.size() < sizeof header) return malformed(what);
  std::memcpy(&header, packet.bytes.data(), sizeof header);
  if (header.magic != kMagic) return malformed(what);
  if (header.kind == Kind::refusal && packet.bytes.size() == sizeof(Refusal)) {
    const auto* text = reinterpret_cast<const char*>(packet.bytes.data()) + sizeof header;
    return Error{Errc::refused, 0, std::string(text, ::strnlen(text, sizeof(Refusal::why)))};
  }
  T message;
  if (header.kind != message.header.kind || packet.bytes.size() != sizeof message ||
      packet.descriptors.size() < min_descriptors ||
      packet.descriptors.size() > max_descriptors) {
    return malformed(what);
  }
  std::memcpy(&message, packet.bytes.data(), sizeof message);
  return message;
}

Result<std::shared_ptr<const shm::View>> open_arena(const shm::UniqueFd& fd, const char* what,
                                                    std::uint64_t bytes) {
  auto view = shm::View::open(fd.get(), what, bytes);
  if (!view) return std::move(view).error();
  return std::make_shared<const shm::View>(std::move(*view));
}

bool has_foreign_pool(const shm::Geometry& geometry) {
  return std::any_of(geometry.pools.begin(), geometry.pools.begin() + geometry.pool_count,
                     [](const shm::PoolGeometry& pool) { return pool.foreign; });
}

Result<void> send_offer(int socket, const shm::Publisher& publisher, std::uint64_t deadline_ns) {
  auto stream = publisher.share();
  if (!stream) return std::move(stream).error();
  std::vector<int> descriptors{stream->control.get()};
  for (const shm::UniqueFd& pool : stream->pools) descriptors.push_back(pool.get());
  return send(socket, Offer{}, descriptors, deadline_ns);
}

// Receives the Hello and the Page and makes of them what the publisher is asked.
Result<shm::AttachRequest> receive_request(int socket, const shm::Publisher& publisher,
                                           const WakeArenaOf& wake_arena_of,
                                           std::uint64_t deadline_ns) {
  auto first = receive_packet(socket, deadline_ns);
  if (!first) return std::move(first).error();
  auto hello = expect<Hello>(*first, "subscription request", 0, 0);
  if (!hello) return std::move(hello).error();
  if (hello->layout_version != shm::kLayoutVersion) {
    return Error{Errc::refused, 0,
                 "the subscriber uses layout version " + std::to_string(hello->layout_version) +
                     ", the publisher " + std::to_string(shm::kLayoutVersion)};
  }
  if (auto sent = send_offer(socket, publisher, deadline_ns); !sent) {
    return std::move(sent).error();
  }

  auto second = receive_packet(socket, deadline_ns);
  if (!second) return std::move(second).error();
  auto page = expect<Page>(*second, "reader page", 1, 2);
  if (!page) return std::move(page).error();
  auto arena = open_arena(second->descriptors[0], "a reader arena", page->arena_bytes);
  if (!arena) return std::move(arena).error();
  auto wakes = wake_arena_of(second->uid);
  if (!wakes) return std::move(wakes).error();

  shm::AttachRequest request;
  request.options.mode = static_cast<DeliveryMode>(
      hello->mode <= 0xff ? hello->mode : 0);  // attach() refuses what it does not know
  request.options.max_held = hello->max_held;
  request.options.history = hello->history;
  request.options.type_hash = hello->type_hash;
  request.options.credits = hello->credits;
  request.options.durable = (hello->flags & kDurable) != 0;
  request.options.recorder = (hello->flags & kRecorder) != 0;
  request.options.group =
      std::string_view{hello->group, ::strnlen(hello->group, sizeof hello->group)};
  request.reader_arena = std::move(*arena);
  request.page_offset = page->offset;
  request.wake_arena = std::move(*wakes);
  request.process = process_of(*second);
  if (second->descriptors.size() == 2) request.event = std::move(second->descriptors[1]);
  return request;
}

}  // namespace

Result<void> serve(int socket, shm::Publisher& publisher, const WakeArenaOf& wake_arena_of,
                   std::uint64_t deadline_ns) {
  if (auto on = want_credentials(socket); !on) return on;
  auto request = receive_request(socket, publisher, wake_arena_of, deadline_ns);
  if (!request) return refuse(socket, std::move(request).error(), deadline_ns);

  const std::shared_ptr<shm::Arena> wakes = request->wake_arena;
  auto admission = publisher.attach(std::move(*request));
  if (!admission) return refuse(socket, std::move(admission).error(), deadline_ns);
  auto fd = wakes->share();
  Result<void> sent;
  if (fd) {
    const int descriptors[] = {fd->get()};
    Admitted admitted;
    admitted.arena_bytes = wakes->size();
    admitted.offset = admission->wake_offset;
    sent = send(socket, admitted, descriptors, deadline_ns);
  } else {
    sent = refuse(socket, std::move(fd).error(), deadline_ns);
  }
  if (!sent) publisher.detach(admission->reader_id);
  return sent;
}

Result<shm::ReaderPtr> subscribe(int socket, const SubscriptionOptions& options,
                                 shm::UniqueFd event, std::uint64_t deadline_ns) {
  if (auto on = want_credentials(socket); !on) return std::move(on).error();
  Hello hello;
  hello.mode = static_cast<std::uint32_t>(options.mode);
  hello.max_held = options.max_held;
  hello.history = options.history;
  hello.type_hash = options.type_hash;
  hello.credits = options.credits;
  hello.flags = (options.durable ? kDurable : 0) | (options.recorder ? kRecorder : 0);
  const std::string_view group = options.group.view();
  std::copy(group.begin(), group.end(), hello.group);
  if (auto sent = send(socket, hello, {}, deadline_ns); !sent) return std::move(sent).error();

  auto first = receive_packet(socket, deadline_ns);
  if (!first) return std::move(first).error();
  auto offer = expect<Offer>(*first, "offer of a stream", 2, 1 + kMaxPools);
  if (!offer) return std::move(offer).error();
  shm::StreamDescriptors stream;
  stream.control = std::move(first->descriptors[0]);
  for (std::size_t i = 1; i < first->descriptors.size(); ++i) {
    stream.pools.push_back(std::move(first->descriptors[i]));
  }

  // One page is all that this arena holds; it fits wherever in the first page it begins.
  auto arena = shm::Arena::create("sluice-reader",
                                  shm::reader_page_bytes(kMaxSlots) + shm::page_bytes());
  if (!arena) return std::move(arena).error();
  auto reader = shm::Reader::open(stream, options, *arena);
  if (!reader) return refuse(socket, std::move(reader).error(), deadline_ns);
  // Without a broker nobody has said whose word is good for such memory.
  if (has_foreign_pool((*reader)->geometry()) && first->uid != ::geteuid() && first->uid != 0) {
    return refuse(socket,
                  {Errc::untrusted, 0,
                   "the stream lends memory of another system, and comes from user " +
                       std::to_string(first->uid) + "; have it advertised by a broker"},
                  deadline_ns);
  }
  auto arena_fd = (*arena)->share();
  if (!arena_fd) return std::move(arena_fd).error();
  std::vector<int> descriptors{arena_fd->get()};
  if (event.valid()) descriptors.push_back(event.get());
  Page page;
  page.arena_bytes = (*arena)->size();
  page.offset = (*reader)->page_offset();
  if (auto sent = send(socket, page, descriptors, deadline_ns); !sent) {
    return std::move(sent).error();
  }

  auto second = receive_packet(socket, deadline_ns);
  if (!second) return std::move(second).error();
  auto admitted = expect<Admitted>(*second, "admission", 1, 1);
  if (!admitted) return std::move(admitted).error();
  auto wakes = open_arena(second->descriptors[0], "a wake arena", admitted->arena_bytes);
  if (!wakes) return std::move(wakes).error();
  auto started = (*reader)->start(std::move(*wakes), admitted->offset, process_of(*second));
  if (!started) return std::move(started).error();
  return reader;
}

}  // namespace sluice::transport
