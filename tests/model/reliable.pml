/* A reliable reader loses nothing: the publisher waits for room, the reader waits for entries, and
 * either may sleep.
 *
 * Words (one writer each):
 *   SEQ(i)         publisher  entry i of a ring of DEPTH: the publication that stands there
 *   ENTRY(i)       publisher  its content; here the same number, plain
 *   WANTS_ROOM(r)  publisher  her wake page for r: the ticket of this wait for room, 0 = no wait
 *   WAKE(r)        publisher  her wake page for r, the word he sleeps on: the ticket of the last
 *                             sleep that she ended
 *   CURSOR(r)      reader r   his page: everything up to here is acknowledged
 *   STATE(r)       reader r   his page: 1 = he leaves, nothing is kept for him any more
 *   SLEEP(r)       reader r   his page: the ticket of this sleep, 0 = awake
 *   ROOM(r)        reader r   his page, the word she sleeps on: the ticket of the last wait that he
 *                             ended
 *   NOTICED(r)     publisher  her own memory, only with a notice: a thread of hers saw him die
 *
 *   publisher, full                            reader
 *   v = ROOM; WANTS_ROOM = ticket;             CURSOR = c; t = WANTS_ROOM;
 *   look at CURSOR and STATE;                  t new: ROOM = t; kernel: wake
 *   kernel: sleep if ROOM is v
 *
 * The other direction is the hand-shake of wake.pml.
 *
 * Proven, for a publisher that may stop for good after any publication:
 *   content == next                every entry is taken once and in order
 *   found <= next                  and is not overwritten before it is acknowledged
 *   at rest, publisher_done        she got through, whoever left (-DREADER_LEAVES) or was killed at
 *                                  any step (-DREADER_DIES)
 *   at rest, served(r)             every other reader took and acknowledged everything
 * "At rest" means that nobody can move. Everything comes to rest: every turn of a loop uses up a
 * publication, a ticket or the one interrupt, and all of these are bounded.
 *
 * C++ tags: `// sync publish`, `// sync wake`, `// sync room`; they stand beside the steps below.
 *
 * -DREADERS=1|2  -DDEPTH=1|2  -DLAST=n publications
 * -DPOLLING=m         bit r: reader r never sleeps (keeps the model with two readers small)
 * -DNOTICE_COMPARED, -DNOTICE_REPEATED
 *                     a death is told by a thread of the publisher's process; without, her sleep
 *                     ends by its timer and she asks the kernel (pidfd)
 * -DBROKEN_...        one rule left out; each must be caught. run.sh has the list
 */

#ifndef READERS
#define READERS 1
#endif
#ifndef LAST
#define LAST 4
#endif
#ifndef POLLING
#define POLLING 0
#endif
#ifndef DEPTH
#define DEPTH 2
#endif

#define entry_of(s) ((s) % DEPTH)

#define SEQ(i) (i)
#define ENTRY(i) (DEPTH + (i))
#define CURSOR(r) (2 * DEPTH + (r))
#define SLEEP(r) (2 * DEPTH + READERS + (r))
#define WAKE(r) (2 * DEPTH + 2 * READERS + (r))
#define ROOM(r) (2 * DEPTH + 3 * READERS + (r))
#define WANTS_ROOM(r) (2 * DEPTH + 4 * READERS + (r))
#define STATE(r) (2 * DEPTH + 5 * READERS + (r))
#define NOTICED(r) (2 * DEPTH + 6 * READERS + (r))

/* Readers are processors 0 and 1. */
#define PUB READERS
#define NOTICE (READERS + 1) /* a background thread of the publisher's process */

#if defined(NOTICE_COMPARED) || defined(NOTICE_REPEATED) || \
    defined(BROKEN_NOTICE_NOT_COMPARED) || defined(BROKEN_NOTICE_WITHOUT_WAKE)
#define WITH_NOTICE
#define time_out(p) false
#define he_died(r) (mem[NOTICED(r)]) /* her own memory; ordered by the words around it or a lock */
#else
#define time_out(p) (p == PUB && waits_for_dead())
#define waits_for_dead() (readers_gone & (1 << (sleeps_on[PUB] - 1 - ROOM(0))))
#define he_died(r) (readers_gone & (1 << (r)))
#endif

#define CPUS (READERS + 2)
#define LOCATIONS (NOTICED(READERS))
#define SB_SIZE 5
byte readers_gone; /* what the kernel says: dead, and all that they stored is visible */
#include "store_buffer.pml"
#include "futex.pml"

byte published;
byte readers_killed, readers_left; /* sets */
bool publisher_done;

/* ---- Publisher ---- */

#ifdef BROKEN_OVERFULL
#define full() (s - 1 - cursor > DEPTH)
#else
#define full() (s - 1 - cursor >= DEPTH)
#endif

inline look_at_cursor(r) {
#ifdef BROKEN_ROOM_CHECK_ACQUIRE
  load(PUB, CURSOR(r), cursor)
#else
  load_seq_cst(PUB, CURSOR(r), cursor) /* sync room: she sees the room, or he that she waits */
#endif
}

/* Only when somebody may leave, to keep the other models small. */
inline look_at_state(r) {
#ifdef READER_LEAVES
  load_seq_cst(PUB, STATE(r), x); /* sync room: the same for one who leaves */
  gone = gone || x;
  x = 0
#else
  skip
#endif
}

inline announce_wait(r) {
#ifdef BROKEN_WANTS_ROOM_RELEASE
  store_release(PUB, WANTS_ROOM(r), ticket)
#else
  store_seq_cst(PUB, WANTS_ROOM(r), ticket) /* sync room: see acknowledge() and leave() */
#endif
}

/* Returns when r has room for publication s, or is gone. A load and a store behind it are one step:
 * nobody sees the load, and nobody sees the store before it leaves the buffer. */
inline wait_for_room(r) {
  do
  :: load(PUB, CURSOR(r), cursor); /* acquire: he has read what she overwrites */
     if
     :: gone || !full() -> break
     :: else
     fi;
     ticket++;
     assert(ticket < 255);
#if defined(BROKEN_ROOM_LOADED_AFTER)
     announce_wait(r);
     look_at_cursor(r);
     load(PUB, ROOM(r), v);
#elif defined(BROKEN_CHECK_FIRST)
     load(PUB, ROOM(r), v);
     look_at_cursor(r);
     announce_wait(r);
#elif defined(BROKEN_STATE_LOOKED_AT_FIRST)
     look_at_state(r);
     atomic { load(PUB, ROOM(r), v); announce_wait(r) };
     look_at_cursor(r);
#else
     atomic { load(PUB, ROOM(r), v); announce_wait(r) }; /* sync room */
     look_at_cursor(r);
     look_at_state(r);
#endif
#ifdef WITH_NOTICE
     gone = gone || he_died(r);
#endif
     if
     :: full() && !gone ->
#if defined(NOTICE_COMPARED)
        futex_waitv(PUB, ROOM(r), v, NOTICED(r), 0); /* sync room */
#else
        futex_wait(PUB, ROOM(r), v); /* sync room */
#endif
#ifdef READER_DIES
        gone = gone || he_died(r)
#endif
     :: else
     fi;
     /* relaxed: seen late it costs one wake-up too many */
     atomic { store_relaxed(PUB, WANTS_ROOM(r), 0); v = 0 }
  od;
  atomic { cursor = 0; gone = false }
}

inline wake_reader(r) {
  atomic {
    load_seq_cst(PUB, SLEEP(r), t); /* sync wake */
    if
    :: t == 0 || t == last_woken[r] -> t = 0
    :: t != 0 && t != last_woken[r] ->
       last_woken[r] = t;
       store_release(PUB, WAKE(r), t); /* sync wake */
       t = 0;
       futex_wake(PUB, WAKE(r))
    fi
  }
}

proctype publisher() {
  byte s = 1, ticket, cursor, v, t, x;
  byte last_woken[READERS];
  bool gone;
  do
  :: s <= LAST ->
     wait_for_room(0);
#if READERS > 1
     wait_for_room(1);
#endif
     atomic {
       store_relaxed(PUB, ENTRY(entry_of(s)), s); /* plain: nobody reads it until it is published */
       store_seq_cst(PUB, SEQ(entry_of(s)), s);    /* sync publish, sync wake */
       published = s
     };
     wake_reader(0);
#if READERS > 1
     wake_reader(1);
#endif
     s++
  :: break
  od;
  publisher_done = true
}

/* ---- Readers ---- */

#define polls(r) (POLLING & (1 << (r)))

inline look_again(r) {
  atomic {
    load_seq_cst(r, SEQ(entry_of(next)), found);
    assert(found <= next);
    found = (found == next)
  }
}

inline sleep_until_woken(r) {
  ticket++;
  assert(ticket < 255);
  atomic { load(r, WAKE(r), v); store_seq_cst(r, SLEEP(r), ticket) }; /* sync wake */
  look_again(r); /* sync wake */
  if
  :: !found -> futex_wait(r, WAKE(r), v) /* sync wake */
  :: else
  fi;
  atomic { store_relaxed(r, SLEEP(r), 0); v = 0; found = 0 }
}

inline read_entry(r) {
  load(r, ENTRY(entry_of(next)), content);
  assert(content == next);
  content = 0
}

/* The publisher may overwrite the entry as soon as she sees the cursor. */
inline acknowledge(r) {
#if defined(BROKEN_CURSOR_RELAXED) && defined(ARM) /* nothing keeps his loads before this store */
  store_relaxed(r, CURSOR(r), next);
  read_entry(r);
#elif defined(BROKEN_CURSOR_RELAXED)
  atomic { read_entry(r); store_relaxed(r, CURSOR(r), next) };
#elif defined(BROKEN_CURSOR_RELEASE)
  atomic { read_entry(r); store_release(r, CURSOR(r), next) };
#else
  /* sync room: she sees the room, or he that she waits */
  atomic { read_entry(r); store_seq_cst(r, CURSOR(r), next) };
#endif
  next++
}

inline wake_publisher(r) {
  atomic {
#ifdef BROKEN_WANTS_ROOM_LOADED_ACQUIRE
    load(r, WANTS_ROOM(r), t);
#else
    load_seq_cst(r, WANTS_ROOM(r), t); /* sync room */
#endif
    if
#ifdef BROKEN_ROOMED_FLAG /* remembers that he woke her, not the ticket */
    :: t == 0 -> last_roomed = 0
    :: t != 0 && last_roomed != 0 -> t = 0
    :: t != 0 && last_roomed == 0 ->
       last_roomed = 1;
#else
    :: t == 0 || t == last_roomed -> t = 0
    :: t != 0 && t != last_roomed ->
       last_roomed = t;
#endif
       store_release(r, ROOM(r), t); /* sync room */
       t = 0;
       futex_wake(r, ROOM(r))
    fi
  }
}

inline leave(r) {
#ifdef BROKEN_LEAVE_RELEASE
  store_release(r, STATE(r), 1);
#else
  store_seq_cst(r, STATE(r), 1); /* sync room: she sees that he leaves, or he that she waits */
#endif
  atomic { readers_left = readers_left | (1 << r) };
#ifndef BROKEN_LEAVE_WITHOUT_WAKE
  wake_publisher(r)
#endif
}

proctype reader(byte r) {
  byte next = 1, ticket, v, t, last_roomed, content, found;
  {
    do
    :: if
       :: polls(r) ->
end_polls:
          mem[SEQ(entry_of(next))] >= next /* to look earlier changes nothing */
       :: else
       fi;
       look_again(r); /* sync publish: acquire */
       if
       :: found -> found = 0; acknowledge(r); wake_publisher(r)
       :: else -> sleep_until_woken(r)
       fi
#ifdef READER_LEAVES
    :: leave(r); break
#endif
    od
  } unless { atomic { (readers_killed & (1 << r)) -> sb_empty(r) -> readers_gone = 1 << r } }
}

/* ---- Death ---- */

proctype kill() {
end:
#ifdef READER_DIES
  if
  :: readers_killed = 1
#if READERS > 1
  :: readers_killed = 2
#endif
  fi
#else
  false
#endif
}

/* She has no right to write ROOM, so her sleeping thread cannot see a death in that word. */
#ifdef WITH_NOTICE
proctype notice() {
  byte r;
end:
  atomic { readers_gone -> r = (readers_gone == 2 -> 1 : 0) };
  store_seq_cst(NOTICE, NOTICED(r), 1);
#if defined(NOTICE_REPEATED)
end_repeats: /* again and again while she sleeps */
  do
  :: atomic { sleeps_on[PUB] == ROOM(r) + 1 -> kernel_entry(NOTICE) -> sleeps_on[PUB] = 0 }
  od
#elif !defined(BROKEN_NOTICE_WITHOUT_WAKE)
  futex_wake(NOTICE, ROOM(r))
#endif
}
#endif

#define served(r) \
  (((readers_killed | readers_left) & (1 << (r))) || mem[CURSOR(r)] == published)

proctype rest() {
  timeout ->
  assert(publisher_done);
  assert(served(0));
#if READERS > 1
  assert(served(1))
#endif
}

init {
  atomic {
    byte p = 0;
    do
    :: p < CPUS -> run memory(p); p++
    :: else -> break
    od;
    p = 0;
    do
    :: p < READERS -> run reader(p); p++
    :: else -> break
    od;
    run publisher();
#ifdef WITH_NOTICE
    run notice();
#endif
    run kill();
    run rest()
  }
}
