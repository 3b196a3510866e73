// Attaching: the broker passes the question on to the publisher and the answer back, and adds what
// both can only believe when it comes from the broker: who the other one is.
#include "daemons/sluiced/broker.hpp"
#include "daemons/sluiced/handed_over.hpp"
#include "daemons/sluiced/log.hpp"
#include "daemons/sluiced/refusal.hpp"

#include <utility>

namespace sluice::broker {
namespace {

constexpr std::uint64_t kAnswerNs = 10'000'000'000;

}  // namespace

Result<void> Broker::attach(Session& session, const protocol::AttachT& body, std::uint32_t request,
                            Fds& fds) {
  const Subscription* subscription = registry_.subscription(body.subscription_id);
  if (subscription == nullptr || subscription->node != session.node()) {
    return refused("this node has no such subscription");
  }
  if (request == 0) return untrusted("Attach without a number to answer to");
  if (fds.size() != (body.has_event ? 2u : 1u)) {
    return untrusted("Attach comes with an arena, and with an eventfd where it says so");
  }
  if (descriptors_are_scarce(fds.back().get())) return too_few_descriptors();
  if (auto valid = check_arena(fds[0], body.arena_bytes, session.who().uid); !valid) return valid;
  const SharedFd arena = session.arena(std::move(fds[0]));
  if (auto fits = registry_.ask(body.stream_id, body.subscription_id,
                                {body.page_offset, body.arena_bytes, arena});
      !fits) {
    return fits;
  }
  const Stream& stream = *registry_.stream(body.stream_id);
  Session* publisher = session_of(stream.node);
  const auto number = publisher == nullptr
                          ? std::nullopt
                          : attaching_.ask({stream.id, subscription->id, stream.node,
                                            session.node(), request, loop_.now_ns() + kAnswerNs});
  if (!number) {
    registry_.detach(stream.id, subscription->id, false);
    return Error{Errc::exhausted, 0, "the publisher has too many unanswered questions before it"};
  }
  protocol::AdmitT admit;
  admit.stream_id = stream.id;
  admit.subscription_id = subscription->id;
  admit.node_id = session.node();
  admit.node = session.node_name();
  admit.uid = session.who().uid;
  admit.want = std::make_unique<protocol::WantT>(subscription->want);
  admit.page_offset = body.page_offset;
  admit.arena_bytes = body.arena_bytes;
  std::vector<SharedFd> handed{arena};
  // Whoever holds an eventfd can read it empty: it is for processes of one user only.
  admit.has_event = body.has_event && publisher->who().uid == session.who().uid;
  if (admit.has_event) handed.push_back(transport::share(std::move(fds[1])));
  admit.has_process = session.peer().process != nullptr;
  if (admit.has_process) handed.push_back(session.peer().process);
  publisher->answer(*number, std::move(admit), handed);
  return {};
}

Result<void> Broker::admitted(Session& session, protocol::AdmittedT& body, std::uint32_t request,
                              Fds& fds) {
  const auto question = attaching_.answer(session.node(), request);
  if (!question) return untrusted("Admitted, but nothing was asked");
  auto valid =
      fds.size() == (body.has_room_event ? 2u : 1u)
          ? check_arena(fds[0], body.arena_bytes, session.who().uid)
          : Result<void>{untrusted(
                "Admitted comes with the wake arena, and with an eventfd where it says so")};
  Session* subscriber = session_of(question->subscriber);
  if (subscriber == nullptr) return valid;  // it has left, and the publisher has been told
  if (!valid) {
    registry_.detach(question->stream, question->subscription, false);
    refuse_question(*question, refused("the publisher's answer was not valid"));
    return valid;
  }
  registry_.admit(question->stream, question->subscription);
  std::vector<SharedFd> handed{transport::share(std::move(fds[0]))};
  if (body.has_room_event) handed.push_back(transport::share(std::move(fds[1])));
  body.has_process = session.peer().process != nullptr;
  if (body.has_process) handed.push_back(session.peer().process);
  audit("attached", "node '" + subscriber->node_name() + "' to '" +
                        registry_.stream(question->stream)->topic + "' of node '" +
                        session.node_name() + "'");
  note_attachment("attached", *registry_.stream(question->stream),
                  *registry_.subscription(question->subscription), "");
  subscriber->answer(question->request, body, handed);
  return {};
}

Result<void> Broker::not_admitted(Session& session, const protocol::FailedT& body,
                                  std::uint32_t request) {
  const auto question = attaching_.answer(session.node(), request);
  if (!question) return untrusted("Failed, but nothing was asked");
  if (question->subscriber == 0) return {};
  registry_.detach(question->stream, question->subscription, false);
  refuse_question(*question, transport::to_error(body));
  return {};
}

void Broker::refuse_question(const Question& question, const Error& error) {
  Session* subscriber = session_of(question.subscriber);
  if (subscriber == nullptr) return;
  audit("refused", "node '" + subscriber->node_name() + "' attaching: " + error.message);
  note_refusal(*subscriber, {}, error);
  subscriber->refuse(question.request, error);
}

Result<void> Broker::detach(Session& session, const protocol::DetachT& body) {
  const Subscription* subscription = registry_.subscription(body.subscription_id);
  if (subscription == nullptr || subscription->node != session.node()) return {};
  registry_.detach(body.stream_id, body.subscription_id, true);
  return {};
}

Result<void> Broker::evicted(Session& session, const protocol::EvictedT& body) {
  const Stream* stream = registry_.stream(body.stream_id);
  if (stream == nullptr || stream->node != session.node()) return {};
  registry_.detach(body.stream_id, body.subscription_id, false, "evicted: " + body.cause);
  return {};
}

}  // namespace sluice::broker
