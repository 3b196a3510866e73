/* No wake-up is lost: a reader that sleeps and a publisher that makes a system call only when
 * somebody sleeps.
 *
 * Words (one writer each):
 *   SEQ(s)   publisher  not 0: publication s stands in its entry (the ring never comes round)
 *   ENDED    publisher  the stream's state: nothing comes any more
 *   SLEEP    reader     his page: the ticket of this sleep, 0 = awake
 *   WAKE     publisher  her wake page for him, the word he sleeps on: the ticket of the last sleep
 *                       that she ended
 *   NOTICED  reader     his own memory, only with a notice: a thread of his saw her process die
 *
 *   reader                                     publisher
 *   v = WAKE; SLEEP = ticket; look again;      SEQ = s; t = SLEEP;
 *   kernel: sleep if WAKE is still v           t new: WAKE = t; kernel: wake
 *
 * Proven, for a publisher that may stop after any publication, with or without saying so:
 *   at rest, !mem[SEQ(taken + 1)]  nobody sleeps while something waits for him
 *   at rest, publisher_done        a reader killed at any step holds up nobody (-DREADER_DIES)
 *   at rest, knows_end             he hears of her end, and of her death at any step
 *                                  (-DPUBLISHER_DIES), and took everything before that
 * "At rest" means that nobody can move. Everything comes to rest: every turn of a loop uses up a
 * publication, a ticket or the one interrupt, and all of these are bounded.
 *
 * C++ tags: `// sync publish`, `// sync wake`, `// sync ended`; they stand beside the steps below.
 *
 * -DLAST=n            publications
 * -DBATCH             entries are stored with release, one seq_cst fence comes before the wake-up
 * -DNOTICE_COMPARED, -DNOTICE_REPEATED
 *                     a death is told by a thread of the reader's process; without, a sleep ends by
 *                     its timer and he asks the kernel (pidfd)
 * -DTICKET_COMPARED
 *                     v is loaded last, but nobody sleeps if v is the ticket of this very sleep.
 *                     Holds: what matters is that the kernel is never asked to wait while WAKE is
 *                     that ticket. Loading v before SLEEP is set ensures the same
 * -DBROKEN_...        one rule left out; each must be caught. run.sh has the list
 */

#ifndef LAST
#define LAST 3
#endif

#define PUB 0
#define READER 1
#define NOTICE 2 /* a background thread of the reader's process */

#define SEQ(s) (s) /* 1 .. LAST + 1; the last stays 0 */
#define ENDED (LAST + 2)
#define SLEEP (LAST + 3)
#define WAKE (LAST + 4)
#define NOTICED (LAST + 5)

#if defined(NOTICE_COMPARED) || defined(NOTICE_REPEATED) || defined(BROKEN_NOTICE_NOT_COMPARED)
#define WITH_NOTICE
#define time_out(p) false
#define she_died() (mem[NOTICED]) /* his own memory; ordered by the words around it or by a lock */
#else
#define time_out(p) (publisher_gone)
#define she_died() (publisher_gone)
#endif

#define CPUS 3
#define LOCATIONS (LAST + 6)
#define SB_SIZE 6
#include "store_buffer.pml"
#include "futex.pml"

byte taken;
bool publisher_done, publisher_killed, reader_killed, knows_end;
bool publisher_gone; /* what the kernel says: dead, and all that she stored is visible */

/* ---- Publisher ---- */

inline wake_reader() {
#ifdef BROKEN_SLEEP_LOADED_ACQUIRE
  load(PUB, SLEEP, t);
#else
  load_seq_cst(PUB, SLEEP, t); /* sync wake: she sees that he sleeps, or he sees what she stored */
#endif
  if
#ifdef BROKEN_WOKEN_FLAG /* remembers that she woke him, not the ticket */
  :: t == 0 -> last_woken = 0
  :: t != 0 && last_woken != 0
  :: t != 0 && last_woken == 0 ->
     last_woken = 1;
#else
  :: t == 0 || t == last_woken
  :: t != 0 && t != last_woken ->
     last_woken = t;
#endif
     store_release(PUB, WAKE, t); /* sync wake: the kernel compares it */
     futex_wake(PUB, WAKE)
  fi;
  t = 0
}

inline publish() {
#if defined(BATCH) || defined(BROKEN_BATCH_WITHOUT_FENCE)
  if
  :: s < LAST -> store_release(PUB, SEQ(s), 1); s++ /* sync publish */
  :: true
  fi;
  store_release(PUB, SEQ(s), 1); /* sync publish */
#ifdef BATCH
  fence_seq_cst(PUB); /* sync wake */
#endif
#elif defined(BROKEN_PUBLISH_RELEASE)
  store_release(PUB, SEQ(s), 1);
#else
  store_seq_cst(PUB, SEQ(s), 1); /* sync publish, sync wake */
#endif
  s++
}

inline end_stream() {
#ifdef BROKEN_ENDED_RELEASE
  store_release(PUB, ENDED, 1);
#else
  store_seq_cst(PUB, ENDED, 1); /* sync ended: after all entries; sync wake */
#endif
#ifndef BROKEN_END_WITHOUT_WAKE
  wake_reader()
#endif
}

proctype publisher() {
  byte s = 1, t, last_woken;
  {
    do
    :: s <= LAST -> publish(); wake_reader()
    :: end_stream(); break
    :: break /* as if nothing more happened for very long */
    od;
    publisher_done = true
  } unless { atomic { publisher_killed -> sb_empty(PUB) -> publisher_gone = true } }
}

/* ---- Reader ---- */

#ifdef BROKEN_LOOK_ACQUIRE
#define look() load(READER, SEQ(next), found)
#else
#define look() load_seq_cst(READER, SEQ(next), found)
#endif

inline announce_sleep() {
#ifdef BROKEN_SLEEP_RELEASE
  store_release(READER, SLEEP, ticket)
#else
  store_seq_cst(READER, SLEEP, ticket) /* sync wake: see wake_reader() */
#endif
}

/* After the end is known all that was published is visible: look once more. */
inline is_it_over() {
  load_seq_cst(READER, ENDED, x); /* sync ended */
  if
  :: x || died ->
#ifndef BROKEN_END_BEFORE_LOOK
     look();
#endif
     over = !found
  :: else
  fi;
  x = 0
}

/* One sleep. It ends for many reasons; the caller looks for himself. */
inline sleep_until_woken() {
  ticket++;
  assert(ticket < 255);
#if defined(BROKEN_WAKE_LOADED_BETWEEN)
  announce_sleep();
  load(READER, WAKE, v); /* may be this ticket: she was late with an older publication */
  look();
#elif defined(BROKEN_WAKE_LOADED_AFTER) || defined(TICKET_COMPARED)
  announce_sleep();
  look();
  load(READER, WAKE, v);
#elif defined(BROKEN_LOOK_FIRST)
  load(READER, WAKE, v);
  look();
  announce_sleep();
#else
  load(READER, WAKE, v); /* sync wake */
  announce_sleep();
  look(); /* sync wake */
#endif
#ifdef TICKET_COMPARED
  found = (found || v == ticket); /* this sleep was ended before it began */
#endif
#ifdef WITH_NOTICE
  died = she_died();
#endif
  if
  :: !found -> is_it_over()
  :: else
  fi;
  if
  :: !found && !over ->
#if defined(BROKEN_WAIT_WITHOUT_COMPARE)
     kernel_wait(READER, WAKE, true);
#elif defined(NOTICE_COMPARED)
     futex_waitv(READER, WAKE, v, NOTICED, 0); /* sync wake */
#else
     futex_wait(READER, WAKE, v); /* sync wake */
#endif
     died = she_died()
  :: else
  fi;
  store_relaxed(READER, SLEEP, 0); /* relaxed: seen late it costs one wake-up too many */
  atomic { v = 0; found = 0 }
}

proctype reader() {
  byte next = 1, ticket, v, found, x;
  bool died, over;
  {
    do
    :: over -> break
    :: !over ->
       look(); /* sync publish: acquire */
       if
       :: found -> atomic { taken = next; next++; found = 0 }
       :: else -> sleep_until_woken()
       fi
    od;
    knows_end = true
  } unless { reader_killed }
}

/* ---- Death ---- */

proctype kill() {
end:
  if
#ifdef PUBLISHER_DIES
  :: atomic { !publisher_done -> publisher_killed = true }
#endif
#ifdef READER_DIES
  :: reader_killed = true
#endif
  :: false
  fi
}

/* He has no right to write WAKE, so a sleeper cannot see her death in that word. */
#ifdef WITH_NOTICE
proctype notice() {
end:
  publisher_gone;
  store_seq_cst(NOTICE, NOTICED, 1);
#ifdef NOTICE_REPEATED
end_repeats: /* again and again while he sleeps */
  do
  :: atomic { sleeps_on[READER] -> kernel_entry(NOTICE) -> sleeps_on[READER] = 0 }
  od
#else
  futex_wake(NOTICE, WAKE)
#endif
}
#endif

proctype rest() {
  timeout ->
  assert(!mem[SEQ(taken + 1)] || reader_killed);
  assert(publisher_done || publisher_killed);
  assert(knows_end == (publisher_killed || mem[ENDED]) || reader_killed)
}

init {
  atomic {
    run memory(PUB);
    run memory(READER);
#ifdef WITH_NOTICE
    run memory(NOTICE);
    run notice();
#endif
    run publisher();
    run reader();
    run kill();
    run rest()
  }
}
