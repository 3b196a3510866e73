/* A group: each entry goes to one member; what a member had not settled when it died, or gave back,
 * goes to another one. The publisher publishes, then idles; a member sleeps when it has nothing to do.
 *
 * Words (one writer each):
 *   ENTRY(s)      publisher  entry s; here its own number. How one is claimed is in claim.pml
 *   GIVEN(r)      publisher  her wake page for r: number of assignments made to r
 *   WORD(r, n)    publisher  the same: assignment n of r, at n modulo CREDITS: the entry's number
 *   WAKE(r)       publisher  the same: the word r sleeps on, the ticket of the sleep ended last
 *   WANTS(r)      publisher  the same: the ticket of her question for credit, 0 = none
 *   SETTLED(r)    member r   his page: how many of his assignments are settled
 *   RETURNED(r, n) member r  his page: assignment n was rejected, not acknowledged (-DREJECTS)
 *   TAKEN(r)      member r   his page: how many of his assignments he began to take (-DMEMBER_DIES)
 *   SLEEP(r)      member r   his page: the ticket of this sleep, 0 = awake
 * The eventfd is the kernel's: `event`. What is hers alone: what is given, settled, to be given
 * again. In the program an owner and visitors share it; a lock makes them one process.
 *
 *   publisher, nobody has a credit           member
 *   WANTS = new ticket;                      SETTLED = n; t = WANTS;
 *   look at SETTLED;                         t new: write the eventfd
 *   idle until the eventfd is readable
 *
 * The other direction is the hand-shake of wake.pml, with GIVEN in SEQ's place.
 *
 * Proven:
 *   with[word] == r     a member finds what it was given, and that is nobody else's; she gives an
 *                       entry only when it is with no member that lives
 *   content == word     and it finds the entry that was published
 *   seen_settled        what she saw settled, and not rejected, is never given again
 *   acked               nor is what was acknowledged
 *   marked              what another one took before is marked as given again
 *   tried               and what is marked, somebody had begun to take
 *   at rest, all_done   every entry was acknowledged, whoever died at any step (-DMEMBER_DIES)
 *
 * C++ tags: `// sync assign`, `// sync wake`, `// sync room`, `// sync returned`, `// sync progress`; they
 * stand beside the steps below. That a member which was thrown out, and lives, takes nothing more than
 * TAKEN said is the pattern of claim.pml with other words, and not modelled here.
 *
 * -DLAST=n entries  -DMEMBERS=1|2  -DCREDITS=1|2 of each  -DMEMBER_DIES one of the two
 * -DREJECTS=n entries are rejected at most, by whoever has them
 * -DBROKEN_...        one rule left out; each must be caught. run.sh has the list
 */

#ifndef LAST
#define LAST 3
#endif
#ifndef CREDITS
#define CREDITS 1
#endif
#ifndef MEMBERS
#define MEMBERS 2
#endif

#define ENTRY(s) (s)
#define GIVEN(r) (LAST + 1 + (r))
#define WAKE(r) (LAST + 1 + MEMBERS + (r))
#define WANTS(r) (LAST + 1 + 2 * MEMBERS + (r))
#define SETTLED(r) (LAST + 1 + 3 * MEMBERS + (r))
#define SLEEP(r) (LAST + 1 + 4 * MEMBERS + (r))
#define WORD(r, n) (LAST + 1 + 5 * MEMBERS + (r) * CREDITS + (n) % CREDITS)

#define END_OF_WORDS (LAST + 1 + 5 * MEMBERS + MEMBERS * CREDITS)
#define TAKEN(r) (END_OF_WORDS + (r))
#ifdef MEMBER_DIES
#define END_OF_TAKEN (END_OF_WORDS + MEMBERS)
#else
#define END_OF_TAKEN END_OF_WORDS
#endif
#define RETURNED(r, n) (END_OF_TAKEN + (r) * CREDITS + (n) % CREDITS)

#define PUB MEMBERS
#define CPUS (MEMBERS + 1)
#ifdef REJECTS
#define LOCATIONS (END_OF_TAKEN + MEMBERS * CREDITS)
byte rejects = REJECTS;
#else
#define LOCATIONS END_OF_TAKEN
#endif
#define SB_SIZE 5
#define time_out(p) false
byte gone; /* what the kernel says: dead, and all that they stored is visible */
#include "store_buffer.pml"
#include "futex.pml"

#define AGAIN 16 /* in a word: another member had the entry */
#define entry_in(w) ((w) % AGAIN)

bool event;
byte killed;
byte with[LAST + 1];      /* member + 1; 0 = nobody */
bool acked[LAST + 1];     /* by whoever had it */
bool was_taken[LAST + 1];
bool tried[LAST + 1];     /* somebody began to take it */
bool seen_settled[LAST + 1];

/* ---- Publisher ---- */

byte published;
byte next = 1;            /* of the entries that were never given */
bool again[LAST + 1];
bool delivered[LAST + 1]; /* before: how often does not matter here */
byte given[MEMBERS], settled[MEMBERS];
byte has[MEMBERS * CREDITS]; /* what stands in WORD; entry */
bool left[MEMBERS];
byte ticket;

#define place(r, n) ((r) * CREDITS + (n) % CREDITS)
#ifdef BROKEN_CREDIT_TOO_MANY
#define has_credit(r) (!left[r] && given[r] - settled[r] <= CREDITS)
#else
#define has_credit(r) (!left[r] && given[r] - settled[r] < CREDITS)
#endif

/* Her private notes; the load is where a member comes in. */
inline note_settled(r) {
  d_step {
    do
    :: settled[r] < x ->
       with[has[place(r, settled[r])]] = 0;
#ifdef REJECTS
       if
       :: mem[RETURNED(r, settled[r])] -> /* sync returned: whatever stands there by now */
          again[has[place(r, settled[r])]] = true;
          delivered[has[place(r, settled[r])]] = true
       :: else -> seen_settled[has[place(r, settled[r])]] = true
       fi;
#else
       seen_settled[has[place(r, settled[r])]] = true;
#endif
       settled[r]++
    :: else -> break
    od;
    x = 0
  }
}

inline look_at(r) {
  if
  :: atomic { !left[r] && !(gone & (1 << (r))) ->
     load_seq_cst(PUB, SETTLED(r), x); /* sync room */
     note_settled(r) }
  :: atomic { !left[r] && (gone & (1 << (r))) ->
     load_seq_cst(PUB, SETTLED(r), x);
     note_settled(r);
     d_step {
       left[r] = true;
       do
       :: settled[r] < given[r] ->
          with[has[place(r, settled[r])]] = 0;
#ifndef BROKEN_NOT_GIVEN_AGAIN
          again[has[place(r, settled[r])]] = true;
#endif
#ifdef BROKEN_ALL_TAKEN
          delivered[has[place(r, settled[r])]] = true;
#elif defined(MEMBER_DIES)
          delivered[has[place(r, settled[r])]] =
              delivered[has[place(r, settled[r])]] || settled[r] < mem[TAKEN(r)]; /* sync progress */
#endif
          settled[r]++
       :: else -> break
       od;
       x = 0
     } }
  :: left[r]
  fi
}

inline look_at_all() {
  look_at(0);
#if MEMBERS > 1
  look_at(1)
#else
  skip
#endif
}
#if MEMBERS > 1
#define others_credit has_credit(1)
#define another_died ((gone & 2) && !left[1])
#else
#define others_credit false
#define another_died false
#endif

/* The oldest that is to be given again, else the next. */
inline choose_entry() {
  d_step {
    e = 1;
    do
    :: e <= LAST && !again[e] -> e++
    :: else -> break
    od;
    if
    :: e <= LAST
    :: e > LAST && next <= published -> e = next
    :: else -> e = 0
    fi;
    mark = (delivered[e] -> AGAIN : 0)
  }
}

inline give(r) {
  d_step {
    assert(with[e] == 0);
    assert(!seen_settled[e]);
    assert(!acked[e]);
    with[e] = r + 1;
    next = (again[e] -> next : next + 1);
    again[e] = false;
    has[place(r, given[r])] = e
  };
#if defined(BROKEN_WORD_AFTER_COUNT)
  store_seq_cst(PUB, GIVEN(r), given[r] + 1);
  store_relaxed(PUB, WORD(r, given[r]), e + mark);
#else
  atomic {
    store_relaxed(PUB, WORD(r, given[r]), e + mark);
#if defined(BROKEN_COUNT_RELEASE)
    store_release(PUB, GIVEN(r), given[r] + 1)
#else
    store_seq_cst(PUB, GIVEN(r), given[r] + 1) /* sync assign, sync wake */
#endif
  };
#endif
  d_step { given[r]++; e = 0; mark = 0 };
  atomic {
    load_seq_cst(PUB, SLEEP(r), x); /* sync wake */
    if
    :: x == 0 || x == woken[r] -> x = 0
    :: else ->
       woken[r] = x;
       store_release(PUB, WAKE(r), x); /* sync wake */
       x = 0;
       futex_wake(PUB, WAKE(r))
    fi
  }
}

inline ask(r) {
  if
  :: !left[r] ->
#ifdef BROKEN_TICKET_KEPT /* asks, and does not know that it was answered */
     atomic { ticket = 1; store_seq_cst(PUB, WANTS(r), ticket) }
#elif defined(BROKEN_TICKET_RELEASE)
     atomic { ticket++; store_release(PUB, WANTS(r), ticket) }
#else
     atomic { ticket++; store_seq_cst(PUB, WANTS(r), ticket) } /* sync room */
#endif
  :: left[r]
  fi
}

/* assign.cpp, serve */
inline serve() {
  look_at_all();
  do
  :: choose_entry();
     if
     :: e == 0 -> break
     :: e != 0 && has_credit(0) -> give(0)
#if MEMBERS > 1
     :: e != 0 && has_credit(1) -> give(1)
#endif
     :: e != 0 && !has_credit(0) && !others_credit ->
        d_step { e = 0; mark = 0 };
        ask(0);
#if MEMBERS > 1
        ask(1);
#endif
#ifndef BROKEN_NO_SECOND_LOOK
        look_at_all();
#endif
        if
        :: has_credit(0) || others_credit
        :: else -> break
        fi
     fi
  od
}

proctype publisher() {
  byte e, mark, x;
  byte woken[MEMBERS];
  do
  :: published < LAST ->
     atomic {
       published++;
       store_release(PUB, ENTRY(published), published) /* sync publish */
     };
     serve()
  :: published == LAST ->
end_idle:
     atomic {
       kernel_entry(PUB) &&
           (event || ((gone & 1) && !left[0]) || another_died) ->
       event = false
     };
     serve()
  od
}

/* ---- Members ---- */

inline look_again(r) {
  load_seq_cst(r, GIVEN(r), x) /* sync wake, sync assign */
}

inline sleep_until_given(r) {
  t++;
  assert(t < 255);
  atomic { load(r, WAKE(r), v); store_seq_cst(r, SLEEP(r), t) }; /* sync wake */
  look_again(r);
  if
  :: x <= n -> futex_wait(r, WAKE(r), v) /* sync wake */
  :: else
  fi;
  atomic { store_relaxed(r, SLEEP(r), 0); v = 0; x = 0 }
}

#ifdef REJECTS
#ifdef BROKEN_RETURNED_KEPT
#define acknowledged(r) skip
#else
#define acknowledged(r) store_relaxed(r, RETURNED(r, n), 0)
#endif

/* Before SETTLED, but with its own word it is not of one moment. */
inline say_which(r) {
  if
  :: rejects > 0 -> atomic { rejects--; back = true }
  :: back = false
  fi;
#ifndef BROKEN_RETURNED_AFTER
  if
  :: back -> store_relaxed(r, RETURNED(r, n), 1) /* sync returned */
  :: else -> acknowledged(r)
  fi
#endif
}
#endif

inline settle(r) {
#ifdef REJECTS
  say_which(r);
  atomic {
    acked[w] = acked[w] || !back;
    n++;
    store_seq_cst(r, SETTLED(r), n); /* sync room, sync returned */
    w = 0
  };
#ifdef BROKEN_RETURNED_AFTER
  store_relaxed(r, RETURNED(r, n - 1), back);
#endif
#ifndef BROKEN_REJECT_SILENT
  if
  :: back -> atomic { kernel_entry(r); event = true; back = false }
  :: else
  fi;
#endif
#elif defined(BROKEN_SETTLED_RELEASE)
  atomic { acked[w] = true; n++; store_release(r, SETTLED(r), n); w = 0 };
#else
  atomic { acked[w] = true; n++; store_seq_cst(r, SETTLED(r), n); w = 0 }; /* sync room */
#endif
  atomic {
    load_seq_cst(r, WANTS(r), x); /* sync room */
    if
    :: x == 0 || x == answered -> x = 0
    :: else -> answered = x; x = 0; kernel_entry(r); event = true
    fi
  }
}

proctype member(byte r) {
  byte n, w, x, t, v, answered;
  bool back;
  {
    do
    :: load(r, GIVEN(r), x); /* sync assign: acquire */
       if
       :: x > n ->
          x = 0;
          load(r, WORD(r, n), w);
#ifdef MEMBER_DIES
          atomic {
            assert(w < AGAIN || tried[entry_in(w)]);
            tried[entry_in(w)] = true;
#ifndef BROKEN_TAKEN_LATE
            store_seq_cst(r, TAKEN(r), n + 1) /* sync progress */
#endif
          };
#endif
          atomic {
            assert(with[entry_in(w)] == r + 1);
            assert(!was_taken[entry_in(w)] || w > AGAIN /* marked */);
            w = entry_in(w);
            was_taken[w] = true
          };
          load(r, ENTRY(w), x);
          atomic { assert(x == w /* content */); x = 0 };
          settle(r)
       :: else -> x = 0; sleep_until_given(r)
       fi
    od
  } unless { atomic { (killed & (1 << r)) -> sb_empty(r) -> gone = 1 << r } }
}

proctype kill() {
end:
#ifdef MEMBER_DIES
  if
  :: killed = 1
#if MEMBERS > 1
  :: killed = 2
#endif
  fi
#else
  false
#endif
}

proctype rest() {
  byte s = 1;
  timeout ->
  do
  :: s <= LAST -> assert(acked[s] /* all_done */); s++
  :: else -> break
  od
}

init {
  atomic {
    byte p = 0;
    do
    :: p < CPUS -> run memory(p); p++
    :: else -> break
    od;
    run member(0);
#if MEMBERS > 1
    run member(1);
#endif
    run publisher();
    run kill();
    run rest()
  }
}
