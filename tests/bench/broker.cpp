#include "tests/bench/broker.hpp"

#include "tests/bench/process.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace sluice::bench {

std::string program_directory() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path();
}

Broker::Broker(const std::string& directory) : directory_(directory), owner_(getpid()) {
  std::ofstream config(directory_ + "/sluiced.toml");
  config << "[limits.each_user]\nconnections = 2_000\nrequests_per_second = 1_000_000\n"
            "[limits.in_all]\nrequests_per_second = 1_000_000\n";
  config.close();
  if (!config) throw std::runtime_error("cannot write the broker's configuration");
  start();
}

Broker::~Broker() {
  if (getpid() == owner_) kill();  // not in a child that was forked later
}

void Broker::start() {
  const std::string program = program_directory() + "/sluiced";
  const std::string at = socket();
  const std::string config = directory_ + "/sluiced.toml";
  if (access(program.c_str(), X_OK) != 0) {
    throw std::runtime_error("there is no " + program +
                             "; a build folder in /tmp is out of sight, see isolate_mounts()");
  }
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid_ > 0) return;
  die_with_parent(parent);
  execl(program.c_str(), program.c_str(), "--socket", at.c_str(), "--config", config.c_str(),
        "--log-level", "warning", nullptr);
  _exit(127);
}

void Broker::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

Node make_node(std::string name, const std::string& socket) {
  NodeOptions options;
  options.name = std::move(name);
  options.socket = socket;
  return must(Node::create(std::move(options)));
}

}  // namespace sluice::bench
