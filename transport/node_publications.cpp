// NodeImpl: what it does for publishers.
#include "shm/clock.hpp"
#include "sluice/topic.hpp"
#include "transport/node_impl.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace sluice {
namespace {

constexpr std::uint64_t kTendNs = 100'000'000;

}  // namespace

Result<std::shared_ptr<transport::Publication>> NodeImpl::advertise(std::string topic,
                                                                    shm::Publisher& stream,
                                                                    const StreamOptions& options,
                                                                    Answer answer) {
  if (auto valid = check_topic(topic); !valid) return std::move(valid).error();
  std::unique_lock lock{mutex_};
  Published published;
  published.publication =
      std::make_shared<transport::Publication>(std::move(topic), stream, options);
  const std::uint64_t id = published.publication->stream_id();
  publications_[id] = published;
  try {
    // A refusal that comes when nobody waits for it is treated as one that comes after a restart.
    if (answer == Answer::later) *published.registered = Result<void>{};
    if (link_.state() == transport::Link::State::up) send(published);
    auto registered = answer == Answer::later ? **published.registered
                                              : await_registered(lock, published.registered);
    if (registered) return published.publication;
    if (published.registered->has_value()) {
      publications_.erase(id);
    } else {
      drop_publication(id);  // no answer: the broker may have taken it after all
    }
    return std::move(registered).error();
  } catch (const std::bad_alloc&) {
    drop_publication(id);  // or it would outlive its stream
    throw;
  }
}

void NodeImpl::send(const Published& published) {
  auto descriptors = published.publication->descriptors();
  if (!descriptors) {
    *published.registered = Result<void>{std::move(descriptors).error()};
    return;
  }
  link_.request(published.publication->advertisement(), *descriptors,
                noting(
                    published.registered,
                    [this, p = published.publication](const Error& why) {
                      log(LogLevel::error, "topic '" + p->topic() + "': " + why.message);
                      p->revoke();
                    },
                    [p = published.publication](const transport::Message& answer) {
                      if (const auto* told = answer.body.AsAdvertised()) p->accepted(*told);
                    }));
}

void NodeImpl::withdraw(std::uint64_t stream_id) {
  const std::lock_guard lock{mutex_};
  drop_publication(stream_id);
}

std::uint64_t NodeImpl::published() {
  const std::lock_guard lock{mutex_};
  std::uint64_t count = published_before_;
  for (const auto& [id, published] : publications_) count += published.publication->published();
  return count;
}

void NodeImpl::drop_publication(std::uint64_t stream_id) {
  const auto at = publications_.find(stream_id);
  if (at == publications_.end()) return;
  published_before_ += at->second.publication->published();
  publications_.erase(at);
  protocol::WithdrawT message;
  message.stream_id = stream_id;
  link_.request(std::move(message), {}, [](const Result<transport::Received>&) {});
}

// While the broker is away there is nobody to tell: a new one is told all pools.
Result<void> NodeImpl::announce_pool(std::uint64_t stream_id, std::uint32_t pool,
                                     shm::UniqueFd fd) {
  std::unique_lock lock{mutex_};
  protocol::AddPoolT message;
  message.stream_id = stream_id;
  message.pool = pool;
  const auto registered = std::make_shared<Registered>();
  const auto away = [&] { return link_.state() != transport::Link::State::up; };
  if (away()) return {};
  link_.request(std::move(message), {transport::share(std::move(fd))},
                noting(registered, [](const Error&) {}));
  await(lock, deadline(), [&] { return registered->has_value() || away(); });
  return registered->value_or(Result<void>{});
}

void NodeImpl::admit(const protocol::AdmitT& admit, std::uint32_t request,
                     std::vector<shm::UniqueFd> descriptors) {
  const auto at = publications_.find(admit.stream_id);
  if (at == publications_.end()) {
    return link_.reply(request, transport::to_failed({Errc::refused, 0, "the stream has ended"}));
  }
  if (admit.has_process && !descriptors.empty()) know_peer(admit.node_id, descriptors.back());
  auto admission =
      at->second.publication->admit(admit, std::move(descriptors), wakes_, foreign_, rooms_);
  if (!admission) {
    log(LogLevel::warning, "topic '" + at->second.publication->topic() + "': node '" + admit.node +
                               "' is not admitted: " + admission.error().message);
    forget_strangers();
    return link_.reply(request, transport::to_failed(admission.error()));
  }
  link_.reply(request, std::move(admission->answer), admission->descriptors);
  at->second.publication->told();
}

// Entries that wait for a group's credit, while the publishers' threads may do something else. Who
// has a credit again says so by an event; while some wait we also look by ourselves, since others
// of that user could have read the event. So we do while the broker is away, and nobody tells that
// a member has left; and after that, while a reader is left that a new one does not know.
std::uint64_t NodeImpl::tend(bool asked, std::uint64_t now_ns) {
  const bool cut_off = link_.state() != transport::Link::State::up;
  bool look_again =
      std::any_of(publications_.begin(), publications_.end(), [cut_off](const auto& entry) {
        const transport::Publication& publication = *entry.second.publication;
        return publication.wants_tending() ||
               (cut_off ? publication.has_groups() : publication.has_strays());
      });
  if (asked || now_ns >= tend_due_ns_) {
    rooms_.clear();  // before we look: what comes then is another event
    for (const auto& [id, published] : publications_) {
      if (published.publication->tend()) look_again = true;
    }
    tend_due_ns_ = shm::kNever;
  }
  if (look_again) tend_due_ns_ = std::min(tend_due_ns_, now_ns + kTendNs);
  return tend_due_ns_;
}

}  // namespace sluice
