#include "tools/sluice/health_table.hpp"

#include <gtest/gtest.h>

namespace sluice::tools {
namespace {

using nlohmann::json;

std::vector<NodeInfo> nodes(const std::vector<std::string>& names) {
  std::vector<NodeInfo> all;
  for (const std::string& name : names) {
    NodeInfo node;
    node.id = all.size() + 1;
    node.name = name;
    node.pid = 100;
    node.version = "1.2";
    node.capabilities = {"faces"};
    all.push_back(node);
  }
  return all;
}

TEST(HealthTable, ShowsWhoIsThere) {
  HealthTable table;
  EXPECT_EQ(table.text(), "no node is there\n");
  table.set_nodes(nodes({"shop"}));
  EXPECT_TRUE(table.well());
  const json row = table.json().at(0);
  EXPECT_EQ(row["node"], "shop");
  EXPECT_EQ(row["status"], "online");
  EXPECT_EQ(row["capabilities"], json({"faces"}));
  EXPECT_NE(table.text().find("faces"), std::string::npos);
}

TEST(HealthTable, ShowsProblems) {
  HealthTable table;
  table.set_nodes(nodes({"shop", "well"}));
  table.add_record("health/shop/bus", {{"status", "problem"},
                                       {"problem", "no paper"},
                                       {"uptime_s", 61},
                                       {"messages", 7},
                                       {"errors", 2}});
  table.add_record("health/well/bus", {{"status", "ok"}, {"uptime_s", 5}});
  EXPECT_FALSE(table.well());
  EXPECT_EQ(table.json().at(0)["status"], "problem");
  EXPECT_NE(table.text().find("no paper"), std::string::npos);
  EXPECT_EQ(table.json().at(1)["status"], "ok");
}

TEST(HealthTable, TakesTheWorstOfStageAndBus) {
  HealthTable table;
  table.set_nodes(nodes({"detect"}));
  table.add_record("health/detect/bus", {{"status", "ok"}});
  table.add_record("health/detect", {{"status", "degraded"}, {"last_error", "dark"}});
  EXPECT_EQ(table.json().at(0)["status"], "degraded");
  EXPECT_FALSE(table.well());
  EXPECT_NE(table.text().find("dark"), std::string::npos);
}

TEST(HealthTable, ShowsLastWordsOfTheDead) {
  HealthTable table;
  table.add_event({{"event", "online"}, {"node", "shop"}});
  table.add_event({{"event", "died"}, {"node", "shop"}, {"last_words", "tell my wife"}});
  table.set_nodes({});
  EXPECT_EQ(table.json().at(0)["status"], "died");
  EXPECT_FALSE(table.json().at(0)["online"].get<bool>());
  EXPECT_NE(table.text().find("tell my wife"), std::string::npos);
  // Who left in order is not shown.
  table.add_event({{"event", "offline"}, {"node", "shop"}});
  EXPECT_EQ(table.json().size(), 0u);
  // Who died may come back.
  table.set_nodes(nodes({"shop"}));
  EXPECT_EQ(table.json().at(0)["status"], "online");
}

TEST(HealthTable, AStuckNodeIsNotWell) {
  HealthTable table;
  auto all = nodes({"shop"});
  all[0].stuck = true;
  table.set_nodes(all);
  EXPECT_FALSE(table.well());
  EXPECT_EQ(table.json().at(0)["status"], "stuck");
}

TEST(HealthTable, SurvivesAnyRecord) {
  HealthTable table;
  table.add_event(nullptr);
  table.add_event({{"node", 5}});
  table.add_event({{"event", 1}, {"node", "odd"}});
  table.add_record("other/topic", json::object());
  table.add_record("health/odd/bus", "text");
  table.add_record("health/odd/bus", {{"status", 1}, {"uptime_s", -4}, {"messages", "many"}});
  table.add_record("health/\x1b[31m/bus", {{"status", "\x1b[0m"}, {"problem", json::array()}});
  EXPECT_EQ(table.text().find('\x1b'), std::string::npos);
  EXPECT_EQ(table.json().size(), 2u);
}

}  // namespace
}  // namespace sluice::tools
