// What there is: nodes, streams, subscriptions, attachments, watches, and who fits whom.
#pragma once

#include "sluice/result.hpp"
#include "transport/connection.hpp"
#include "transport/wire.hpp"

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace sluice::broker {

using Id = std::uint64_t;
using transport::SharedFd;

struct Node {
  Id id = 0;
  std::string name;
  pid_t pid = 0;
  uid_t uid = 0;
  std::string version;  ///< Of its program.
  std::vector<std::string> capabilities;
  bool own = false;  ///< The broker's; no limit counts it.
  bool stuck = false;
  std::set<Id> streams, subscriptions, watches;
};

struct Stream {
  Id id = 0;
  Id node = 0;
  std::string topic;
  protocol::OfferT offer;
  std::vector<SharedFd> descriptors;  ///< Control segment, pools.
  bool lends = false;                 ///< Among them memory of another system.
  std::uint32_t matching = 0;         ///< Subscriptions that are attached, or were told of it.
};

/// Where a reader's page lies. `arena` is kept for those who monitor, and may be missing.
struct Page {
  std::uint64_t offset = 0;
  std::uint64_t arena_bytes = 0;
  SharedFd arena;
};

struct Subscription {
  Id id = 0;
  Id node = 0;
  std::vector<std::string> filters;
  protocol::WantT want;
  std::set<Id> found;       ///< Streams that it was told of, and has not asked for yet.
  std::set<Id> attached;    ///< Streams, also those whose publisher was only asked yet.
  std::map<Id, Page> held;  ///< Attachments from before, to streams that have not appeared yet.
};

struct Attachment {
  Page page;
  bool admitted = false;  ///< false: the publisher was asked and has not answered.
};

struct Watch {
  Id id = 0;
  Id node = 0;
  std::string filter;
  bool counters = false;
};

/// Who is to be told what. Called while the registry changes, which nothing in here may do.
class Audience {
 public:
  virtual ~Audience() = default;
  virtual void found(const Subscription& subscription, const Stream& stream) = 0;
  virtual void unfit(const Subscription& subscription, const Stream& stream,
                     const std::string& sentence) = 0;
  virtual void leave(const Stream& stream, Id subscription) = 0;
  virtual void gone(Id node, Id stream, protocol::Cause cause) = 0;
  /// Another number of subscriptions is attached to it, or was told of it.
  virtual void matching(const Stream& stream) = 0;
  virtual void pool_added(Id node, const Stream& stream, std::uint32_t pool) = 0;
  virtual void event(const Watch& watch, protocol::EventT event, const SharedFd& descriptor) = 0;
  /// An attachment that was admitted is over; `why` may be empty.
  virtual void detached(const Stream& stream, const Subscription& subscription,
                        const std::string& why) = 0;
  /// Just before it is forgotten.
  virtual void ended(const Stream& stream) = 0;
  virtual void ended(const Subscription& subscription) = 0;
  virtual void ended(const Watch& watch) = 0;
};

/// Plain data without sockets or policy: what is put in was allowed. Adding and announcing are two
/// steps, so that the answer to a request can be sent in between. Thread-bound.
class Registry {
 public:
  explicit Registry(Audience& audience) noexcept : audience_(audience) {}

  Result<void> add_node(Node node);
  void set_stuck(Id node, bool stuck);
  /// Ends all that it has.
  void remove_node(Id node, protocol::Cause cause);

  Result<void> add(Stream stream);
  void announce_stream(Id stream);
  Result<void> add_pool(Id stream, std::uint32_t pool, SharedFd descriptor, bool foreign);
  void end_stream(Id stream, protocol::Cause cause);
  /// How many subscriptions would meet it.
  [[nodiscard]] std::uint32_t count_fitting(const Stream& stream) const;

  Result<void> add(Subscription subscription);
  void announce_subscription(Id subscription);
  void end_subscription(Id subscription);

  Result<void> add(Watch watch);
  void announce_watch(Id watch);
  void end_watch(Id watch);

  /// An attachment begins with the question to the publisher. Errors: there is no such pair, it
  /// does not fit, or it exists.
  Result<void> ask(Id stream, Id subscription, Page page);
  /// The publisher said yes. False when nobody waits for that any more.
  bool admit(Id stream, Id subscription);
  /// Ends an attachment, or a held one. `tell_publisher`: unless that is who says so.
  void detach(Id stream, Id subscription, bool tell_publisher, const std::string& why = {});
  /// The arena of an attachment that was held through a restart. False when there is none.
  bool set_arena(Id stream, Id subscription, SharedFd arena);

  [[nodiscard]] const Node* node(Id id) const;
  [[nodiscard]] const Stream* stream(Id id) const;
  [[nodiscard]] const Subscription* subscription(Id id) const;
  [[nodiscard]] const Watch* watch(Id id) const;
  /// Of an attachment, or of one that is held.
  [[nodiscard]] const Page* page(Id stream, Id subscription) const;
  [[nodiscard]] const Attachment* attachment(Id stream, Id subscription) const;
  [[nodiscard]] const std::map<Id, Node>& nodes() const noexcept { return nodes_; }
  [[nodiscard]] const std::map<Id, Stream>& streams() const noexcept { return streams_; }
  [[nodiscard]] const std::map<Id, Subscription>& subscriptions() const noexcept {
    return subscriptions_;
  }
  [[nodiscard]] std::size_t attachment_count() const noexcept { return attachments_.size(); }
  [[nodiscard]] const std::map<Id, Watch>& watches() const noexcept { return watches_; }

 private:
  void meet(Subscription& subscription, const Stream& stream);
  void attach(const Stream& stream, Subscription& subscription, Page page, bool admitted);
  /// Whether the subscription is one for this stream at all, fit or unfit.
  [[nodiscard]] bool is_for(const Subscription& subscription, const Stream& stream) const;
  [[nodiscard]] bool fits(const Subscription& subscription, const Stream& stream) const;
  void count(Id stream, bool more);
  [[nodiscard]] std::set<Id> interested_nodes(const Stream& stream) const;

  void show_node(const Node& node, protocol::Change change);
  void show_stream(const Stream& stream, protocol::Change change);
  void show_subscription(const Subscription& subscription, protocol::Change change);
  void show_attachment(const Stream& stream, Id subscription, protocol::Change change,
                       const std::string& sentence = {});
  void show_unfit(const Stream& stream, const Subscription& subscription,
                  const std::string& sentence);

  Audience& audience_;
  std::map<Id, Node> nodes_;
  std::map<Id, Stream> streams_;
  std::map<Id, Subscription> subscriptions_;
  std::map<Id, Watch> watches_;
  std::map<std::pair<Id, Id>, Attachment> attachments_;  // by stream, subscription
};

}  // namespace sluice::broker
