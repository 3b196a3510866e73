// sluice::Node and sluice::Monitor: the public faces of NodeImpl.
#include "sluice/node.hpp"

#include "shm/futex.hpp"
#include "transport/node_impl.hpp"
#include "transport/publisher_impl.hpp"
#include "transport/subscriber_impl.hpp"

#include <utility>

namespace sluice {

Node::Node(std::shared_ptr<NodeImpl> impl) noexcept : impl_(std::move(impl)) {}
Node::Node(Node&&) noexcept = default;
Node& Node::operator=(Node&&) noexcept = default;
Node::~Node() = default;

Result<Node> Node::create(NodeOptions options) {
  auto impl = NodeImpl::create(std::move(options));
  if (!impl) return std::move(impl).error();
  return Node{std::move(*impl)};
}

Result<Publisher> Node::advertise(std::string_view topic, const StreamOptions& options) {
  return advertise(topic, options, true);
}

Result<Publisher> Node::advertise(std::string_view topic, const StreamOptions& options, bool wait) {
  StreamOptions named = options;
  if (named.label.empty()) named.label = std::string(topic.substr(0, 63));
  auto stream = shm::Publisher::create(named);
  if (!stream) return std::move(stream).error();
  auto impl = std::make_unique<Publisher::Impl>();  // nothing may fail once it is known
  const auto answer = wait ? NodeImpl::Answer::wait : NodeImpl::Answer::later;
  auto publication = impl_->advertise(std::string(topic), **stream, named, answer);
  if (!publication) return std::move(publication).error();
  impl->stream = std::move(*stream);
  impl->publication = std::move(*publication);
  impl->node = impl_;
  return Publisher{std::move(impl)};
}

Result<Subscriber> Node::subscribe(std::string_view filter, const SubscriptionOptions& options) {
  return subscribe(std::vector<std::string>{std::string(filter)}, options);
}

Result<Subscriber> Node::subscribe(std::string_view filter, const SubscriptionOptions& options,
                                   WaitSet& set) {
  return subscribe(std::vector<std::string>{std::string(filter)}, options, &set);
}

Result<Subscriber> Node::subscribe(const std::vector<std::string>& filters,
                                   const SubscriptionOptions& options, WaitSet* set) {
  if (set == nullptr) {
    auto own = WaitSet::create();
    if (!own) return std::move(own).error();
    own->impl_->own = true;
    return subscribe(filters, options, &*own);
  }
  shm::UniqueFd event;
  if (options.pollable || !shm::has_futex_waitv()) {
    auto copy = set->impl_->set.event();
    if (!copy) return std::move(copy).error();
    event = std::move(*copy);
  }
  const auto interrupt = [waits = set->impl_] { waits->set.interrupt(); };
  auto impl = std::make_unique<Subscriber::Impl>(set->impl_);  // nothing may fail once it is known
  auto subscription = impl_->subscribe(filters, options, interrupt, std::move(event));
  if (!subscription) return std::move(subscription).error();
  impl->join(impl_, std::move(*subscription));
  return Subscriber{std::move(impl)};
}

Result<Monitor> Node::monitor(std::string_view filter) {
  return impl_->monitor(std::string(filter), impl_);
}

const std::string& Node::name() const noexcept { return impl_->name(); }
const std::string& Node::version() const noexcept { return impl_->version(); }
std::uint64_t Node::id() const noexcept { return impl_->id(); }
bool Node::connected() const noexcept { return impl_->connected(); }
std::uint64_t Node::published() const { return impl_->published(); }
int Node::fd() const noexcept { return impl_->fd(); }
void Node::dispatch() { impl_->step(0); }

struct Monitor::Impl {
  Impl(std::shared_ptr<NodeImpl> with, std::uint64_t watch) : node(std::move(with)), id(watch) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { node->unwatch(id); }
  std::shared_ptr<NodeImpl> node;
  std::uint64_t id;
};

Monitor::Monitor(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Monitor::Monitor(Monitor&&) noexcept = default;
Monitor& Monitor::operator=(Monitor&&) noexcept = default;
Monitor::~Monitor() = default;

Snapshot Monitor::snapshot() const { return impl_->node->snapshot(impl_->id); }

Result<Monitor> NodeImpl::monitor(std::string filter, std::shared_ptr<NodeImpl> self) {
  auto watch = this->watch(std::move(filter));
  if (!watch) return std::move(watch).error();
  return Monitor{std::make_unique<Monitor::Impl>(std::move(self), *watch)};
}

}  // namespace sluice
