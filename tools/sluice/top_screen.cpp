// The screen: a status line, the names of the columns, the table, and a line of keys. ncurses
// compares what is drawn with what is there and sends the difference, so the picture does not
// flicker.
//
// The model is fed in every interval, also while the picture is frozen: what is shown then is a
// copy of the table, and rates are right at once when it goes on. Lines are made for the width
// there is; what does not fit in height is scrolled to, with the chosen stream in view.
#include "tools/sluice/top_screen.hpp"

#include "tools/sluice/session.hpp"
#include "tools/sluice/text.hpp"

#include <curses.h>
#include <langinfo.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <clocale>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace sluice::tools {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

enum class View { table, stream, drops, help };

constexpr int kEscape = 27;

// The terminal in curses' hands, and back as it was.
class Terminal {
 public:
  Terminal() {
    std::setlocale(LC_ALL, "");
    utf8_ = std::strcmp(::nl_langinfo(CODESET), "UTF-8") == 0;
    screen_ = ::newterm(nullptr, stdout, stdin);
    if (screen_ == nullptr) return;
    ::set_term(screen_);
    ::cbreak();
    ::noecho();
    ::nonl();
    ::curs_set(0);
    ::keypad(stdscr, TRUE);
    ::set_escdelay(50);
    if (std::getenv("NO_COLOR") == nullptr && ::has_colors()) {
      ::start_color();
      ::use_default_colors();
      ::init_pair(kRed, COLOR_RED, -1);
      ::init_pair(kYellow, COLOR_YELLOW, -1);
      colours_ = true;
    }
  }
  ~Terminal() {
    if (screen_ == nullptr) return;
    ::endwin();
    ::delscreen(screen_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  [[nodiscard]] bool usable() const { return screen_ != nullptr; }
  [[nodiscard]] static std::size_t rows() { return static_cast<std::size_t>(std::max(LINES, 1)); }
  [[nodiscard]] static std::size_t columns() { return static_cast<std::size_t>(std::max(COLS, 1)); }

  void draw(std::size_t row, const Line& line, bool chosen) const {
    ::move(static_cast<int>(row), 0);
    for (const Span& span : line.spans) {
      ::attrset(static_cast<int>(attributes(span.style) | (chosen ? A_REVERSE : A_NORMAL)));
      ::addstr(utf8_ ? span.text.c_str() : to_ascii(span.text).c_str());
    }
    ::attrset(A_NORMAL);
  }

 private:
  static constexpr short kRed = 1;
  static constexpr short kYellow = 2;

  [[nodiscard]] attr_t attributes(Style style) const {
    switch (style) {
      case Style::plain:
        return A_NORMAL;
      case Style::dim:
        return A_DIM;
      case Style::strong:
        return A_BOLD;
      case Style::heading:
        return A_UNDERLINE;
      case Style::warning:
        return colours_ ? static_cast<attr_t>(COLOR_PAIR(kYellow)) : A_BOLD;
      case Style::bad:
        return A_BOLD | (colours_ ? static_cast<attr_t>(COLOR_PAIR(kRed)) : A_UNDERLINE);
    }
    return A_NORMAL;
  }

  SCREEN* screen_ = nullptr;
  bool utf8_ = false;
  bool colours_ = false;
};

constexpr std::array kHelp{
    "up down        choose a stream            Enter  all about the chosen one",
    "PgUp PgDn      scroll                     Esc    back to the table",
    "space  freeze the picture, go on          w      who loses what, and why",
    "c      clear: totals count from now on    s r    sort by another column, reverse",
    "q      quit                               ?      this page",
    "",
    "STREAM  WANT what its source should give · JITTR mean change of the intervals ·",
    "1%LOW the rate in the slowest hundredth · GAPS lost before they came to us ·",
    "SLOTS used/all, FREE the fewest ever free · AGE since capture, when published",
    "",
    "SUBSCRIBER  LOST per second and WHY: skip a newer one was wanted, late",
    "overwritten first, out evicted, old time to live passed, bad invalid ·",
    "QUEU waiting · HLD held now, SINCE the oldest of them was published ·",
    "AGE99 from publish to take, WORK from take to release, END99 from capture to",
    "release. 99: one of a hundred in the window was slower; else the median.",
};

class TopScreen {
 public:
  TopScreen(const TopOptions& options, TopFeed& feed, Terminal& terminal)
      : options_(options),
        feed_(feed),
        terminal_(terminal),
        model_(static_cast<std::uint64_t>(options.window_s * 1e9)),
        interval_(static_cast<std::int64_t>(options.interval_s * 1000)),
        reversed_(options.reversed) {
    view_options_.sort = options.sort;
  }

  int run() {
    Clock::time_point due = Clock::now();
    while (!interrupted() && !quit_) {
      if (Clock::now() >= due) {
        if (const auto fed = feed(); !fed) {
          error_ = fed.error().message;
          return 1;
        }
        due = Clock::now() + (feed_.connected() && !first_ ? interval_ : milliseconds{300});
        first_ = !feed_.connected();
      }
      draw();
      const auto left = std::chrono::duration_cast<milliseconds>(due - Clock::now()).count();
      ::timeout(static_cast<int>(std::clamp<std::int64_t>(left + 1, 1, 200)));
      for (int key = ::getch(); key != ERR; key = ::getch()) {
        press(key);
        ::timeout(0);
      }
    }
    return 0;
  }
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  Result<void> feed() {
    if (!feed_.connected()) {
      auto connected = feed_.connect(milliseconds{200});
      if (!connected) {
        waiting_for_ = connected.error().message;
        if (connected.error().code != Errc::system) return connected;
        return {};
      }
    }
    model_.add(feed_.snapshot(), monotonic_ns());
    if (!view_options_.frozen) shown_ = model_.table();
    sort();
    return {};
  }

  void sort() { sort_table(shown_, view_options_.sort, reversed_); }

  void press(int key) {
    switch (key) {
      case 'q':
        quit_ = true;
        break;
      case kEscape:
      case KEY_BACKSPACE:
      case KEY_LEFT:
      case 'h':
        go(View::table);
        break;
      case '?':
      case KEY_F(1):
        go(view_ == View::help ? View::table : View::help);
        break;
      case 'w':
        go(view_ == View::drops ? View::table : View::drops);
        break;
      case '\r':
      case '\n':
      case KEY_ENTER:
      case KEY_RIGHT:
        if (view_ == View::table && chosen_ != 0) go(View::stream);
        break;
      case KEY_UP:
      case 'k':
        step(-1);
        break;
      case KEY_DOWN:
      case 'j':
        step(1);
        break;
      case KEY_PPAGE:
        offset_ -= std::min(offset_, page());
        follow_ = false;
        break;
      case KEY_NPAGE:
        offset_ += page();
        follow_ = false;
        break;
      case ' ':
        view_options_.frozen = !view_options_.frozen;
        if (!view_options_.frozen) shown_ = model_.table();
        sort();
        break;
      case 'c':
        model_.clear();
        view_options_.cleared = true;
        break;
      case 's':
        view_options_.sort = static_cast<SortKey>((static_cast<int>(view_options_.sort) + 1) %
                                                  (static_cast<int>(SortKey::held) + 1));
        sort();
        break;
      case 'r':
        reversed_ = !reversed_;
        sort();
        break;
      default:  // KEY_RESIZE: the next picture has the new size
        break;
    }
  }

  void go(View view) {
    view_ = view;
    offset_ = 0;
    follow_ = true;
  }

  // Up and down choose a stream in the table, and scroll elsewhere.
  void step(int by) {
    if (view_ != View::table) {
      if (by > 0)
        ++offset_;
      else
        offset_ -= std::min<std::size_t>(offset_, 1);
      return;
    }
    const auto& streams = shown_.streams;
    if (streams.empty()) return;
    const auto at = std::find_if(streams.begin(), streams.end(),
                                 [&](const StreamRow& row) { return row.id == chosen_; });
    auto index = at == streams.end() ? std::ptrdiff_t{by > 0 ? -1 : 0} : at - streams.begin();
    index = std::clamp<std::ptrdiff_t>(index + by, 0, std::ssize(streams) - 1);
    chosen_ = streams[static_cast<std::size_t>(index)].id;
    follow_ = true;
  }

  [[nodiscard]] std::vector<Line> body() const {
    std::vector<Line> lines;
    switch (view_) {
      case View::table:
        return table_lines(shown_, view_options_);
      case View::stream:
        return stream_lines(shown_, chosen_, view_options_);
      case View::drops:
        return drop_lines(shown_, view_options_);
      case View::help:
        for (const char* text : kHelp) {
          lines.push_back({{{cut(text, view_options_.columns), Style::plain}}, {}});
        }
        return lines;
    }
    return lines;
  }

  [[nodiscard]] std::size_t page() const {
    const std::size_t rows = Terminal::rows();
    const std::size_t around = 2 + (view_ == View::table ? 2 : 0);
    return rows > around ? rows - around : 1;
  }

  void draw() {
    view_options_.columns = Terminal::columns();
    ::erase();
    if (!feed_.connected()) {
      terminal_.draw(
          0, {{{cut("waiting for a broker", view_options_.columns), Style::warning}}, {}}, false);
      std::size_t row = 1;
      for (const Line& line : wrapped(waiting_for_, 0, view_options_.columns, Style::dim)) {
        terminal_.draw(row++, line, false);
      }
    } else {
      draw_table();
    }
    draw_keys();
    ::refresh();
  }

  void draw_table() {
    terminal_.draw(0, status_line(shown_, view_options_), false);
    std::size_t row = 1;
    if (view_ == View::table) {
      for (const Line& line : heading_lines(view_options_)) terminal_.draw(row++, line, false);
    }
    std::vector<Line> lines = body();
    if (view_ == View::table && shown_.streams.empty()) {
      lines.push_back(
          {{{cut("nobody publishes here yet", view_options_.columns), Style::dim}}, {}});
    }
    const std::size_t room = page();
    if (view_ == View::table && follow_) scroll_to_chosen(lines, room);
    offset_ = std::min(offset_, lines.size() > room ? lines.size() - room : 0);
    for (std::size_t i = 0; i < room && offset_ + i < lines.size(); ++i) {
      const Line& line = lines[offset_ + i];
      const bool chosen = view_ == View::table && line.stream_id && *line.stream_id == chosen_;
      terminal_.draw(row++, line, chosen);
    }
  }

  // The chosen stream and what belongs to it, as far as it fits.
  void scroll_to_chosen(const std::vector<Line>& lines, std::size_t room) {
    const auto first = std::find_if(lines.begin(), lines.end(), [&](const Line& line) {
      return line.stream_id && *line.stream_id == chosen_;
    });
    if (first == lines.end()) return;
    const auto last = std::find_if(first + 1, lines.end(),
                                   [](const Line& line) { return line.stream_id.has_value(); });
    const auto begin = static_cast<std::size_t>(first - lines.begin());
    const auto end = static_cast<std::size_t>(last - lines.begin());
    if (end > offset_ + room) offset_ = end - room;
    offset_ = std::min(offset_, begin);
  }

  void draw_keys() const {
    const char* keys = view_ == View::table
                           ? "q quit  ? help  Enter stream  w losses  s r sort  "
                             "space freeze  c clear"
                           : "q quit  ? help  Esc table  w losses  space freeze  c clear";
    // Not into the last column: some terminals would scroll.
    terminal_.draw(
        Terminal::rows() - 1,
        {{{cut(keys, view_options_.columns - std::min<std::size_t>(view_options_.columns, 1)),
           Style::dim}},
         {}},
        false);
  }

  const TopOptions& options_;
  TopFeed& feed_;
  Terminal& terminal_;
  TopModel model_;
  milliseconds interval_;
  bool reversed_;
  Table shown_;
  ViewOptions view_options_;
  View view_ = View::table;
  std::uint64_t chosen_ = 0;
  std::size_t offset_ = 0;
  bool follow_ = true;
  bool first_ = true;
  bool quit_ = false;
  std::string waiting_for_;
  std::string error_;
};

}  // namespace

int run_top_screen(const TopOptions& options, TopFeed& feed) {
  std::string error;
  int code = 0;
  {
    Terminal terminal;
    if (!terminal.usable()) {
      return misused("top", "this terminal (TERM) is not known; use --batch");
    }
    TopScreen screen(options, feed, terminal);
    code = screen.run();
    error = screen.error();
  }
  return code == 0 ? 0 : failed("top", error);
}

}  // namespace sluice::tools
