/* A slot is never overwritten while somebody reads it: publish, claim, retire, resolve.
 *
 * One publisher, a ring of two entries, SLOTS payload slots, two readers. The publisher reuses
 * slots without asking anybody; a reader protects a slot with a claim bit in its own page (a hazard
 * pointer across processes).
 *
 * Words (one writer each):
 *   SEQ(i)      publisher  entry i: s = publication s stands here, s|RETIRED = it was taken back,
 *                          0 = never used
 *   FIELD(i)    publisher  entry i: the slot of that publication
 *   WORD(k)     publisher  slot k: s = holds publication s, s|DECIDING = she is about to say
 *                          whether it stays, NONE = nothing
 *   PAYLOAD(k)  publisher  slot k: the payload; here the number of its publication
 *   CLAIM(r)    reader r   bit k: "I read slot k"
 *   STATE(r)    publisher  her wake page for r: 1 = evicted, his claims count for nothing
 *   CURSOR(r)   reader r   (CURSORS) he looks at no publication below
 *   START       publisher  (ATTACHES) where reader 1 begins; 0 = she does not know him yet
 *   EVENT       reader 0   chained hold: the reference that the detector hands on
 *   DONE        reader 1   chained hold: the resolver is done with it
 * `head` and `tail` are not modelled: here a reader looks at any entry at any time, which includes
 * whatever they would tell it; with CURSORS at any entry that is not behind his cursor.
 *
 * Proven:
 *   payload_seen == holds  who holds publication s reads the payload of s, as often and as late as
 *                          he likes; or, evicted, is told afterwards that he did not (`evicted`)
 *   resolved != EXPIRED    (RESOLVER) a reference resolves as long as the one who handed it on
 *                          keeps his claim; a stale one gives EXPIRED or its own payload
 *   free                   (ADMISSION) with one slot more than the readers can hold, loan() finds
 *                          one, if it looks READERS + 1 times at the slots that were set aside
 *
 * C++ tags: `// sync publish`, `// sync claim`, `// sync release`, `// sync resolve`,
 * `// sync admit`, `// sync cursor`; they stand beside the steps below, where "retire" is the
 * publisher's side of claim and resolve.
 *
 * -DSLOTS=2|3  -DLAST=n publications
 * -DADMISSION        loan() in its proper order, instead of anything that it may do
 * -DLOOKS=n          how often it looks then
 * -DCURSORS          a publication that all cursors have left behind is retired without a mark
 * -DONLY_LEFT        (with CURSORS) nothing else is retired
 * -DATTACHES         (with CURSORS) reader 1 attaches at any loan
 * -DEVICTS           the publisher may evict reader 0 at any loan
 * -DRESOLVER         reader 0 is a detector that hands its frame on to resolver 1
 * -DPUBLISHER_DIES   (with RESOLVER) the publisher may be killed at any step
 * -DBROKEN_...       one rule left out; each must be caught. run.sh has the list
 *
 * Not modelled because nothing is left to go wrong: a killed reader (it never reads again, and the
 * publisher drops its page), range checks of what a reader finds in an entry.
 */

#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef LAST
#define LAST 4
#endif
#ifndef LOOKS
#define LOOKS (READERS + 1)
#endif

#define RING 2
#define READERS 2

#define SEQ(i) (i)
#define FIELD(i) (RING + (i))
#define WORD(k) (2 * RING + (k))
#define PAYLOAD(k) (2 * RING + SLOTS + (k))
#define CLAIM(r) (2 * RING + 2 * SLOTS + (r))
#ifdef RESOLVER
#define EVENT (CLAIM(READERS))
#define DONE (CLAIM(READERS) + 1)
#elif defined(CURSORS)
#define CURSOR(r) (CLAIM(READERS) + (r))
#define START (CLAIM(READERS) + 2)
#else
#define STATE(r) (CLAIM(READERS) + (r))
#endif

#define CPUS 3
#define LOCATIONS (CLAIM(READERS) + 3)
#define PUB 2 /* the publisher's processor; readers are 0 and 1 */
#define SB_SIZE 10
/* A reader: a cleared claim, the next one, EVENT or DONE or CURSOR. */
#define sb_room(p) (p == PUB -> SB_SIZE : 3)
#include "store_buffer.pml"

#define RETIRED 32
#define DECIDING 64
#define NONE 128

#define BIT(k) (1 << (k))
#define entry_of(s) ((s) % RING)

bool publisher_killed;
bool publisher_dead; /* what the kernel says: dead, and all that she stored is visible */

/* Stores of the publisher that follow each other are one step: nobody sees that they are in the
 * buffer, only that they leave it. Not so when she may die between two of them. */
#ifdef PUBLISHER_DIES
#define together
#else
#define together atomic
#endif

/* ---- Publisher ---- */

#define attached (start != 0)

/* What all have left behind. Cursors that were read longer ago are lower: more marks than needed. */
inline load_cursors() {
  load(PUB, CURSOR(0), left); /* sync cursor: acquire, what he claimed before is seen below */
#ifdef ATTACHES
  if
  :: attached ->
     load(PUB, CURSOR(1), x);
     x = (x > start -> x : start) /* his first store is perhaps not visible yet */
  :: else -> x = left
  fi;
#else
  load(PUB, CURSOR(1), x); /* sync cursor */
#endif
#ifdef BROKEN_LEFT_BY_ONE
  left = (x > left -> x : left);
#else
  left = (x < left -> x : left);
#endif
  x = 0
}

inline load_claims() {
#ifdef EVICTS
  if
  :: evicted
  :: else -> load(PUB, CLAIM(0), claims)
  fi;
#else
  load(PUB, CLAIM(0), claims); /* sync release: acquire, what is unclaimed was read to its end */
#endif
#ifdef ATTACHES
  if
  :: attached -> load(PUB, CLAIM(1), x)
  :: else
  fi;
#else
  load(PUB, CLAIM(1), x); /* sync release */
#endif
  claims = claims | x;
  x = 0
}

/* Only resolvers look at WORD. */
#ifdef RESOLVER
#define store_word(how, k_, v_) store_##how(PUB, WORD(k_), v_)
#else
#define store_word(how, k_, v_) skip
#endif

inline mark_slot(k_) {
#ifdef BROKEN_NONE_AT_ONCE
  store_word(relaxed, k_, NONE)
#else
  store_word(relaxed, k_, holds[k_] | DECIDING) /* sync resolve: relaxed, a fence follows */
#endif
}

inline retire_oldest() {
  k = slot_of[entry_of(oldest)];
#ifdef CURSORS
  if
  :: oldest < left /* sync cursor: nobody looks at it again, and the claims that stay are visible */
  :: else -> store_relaxed(PUB, SEQ(entry_of(oldest)), oldest | RETIRED) /* sync claim */
  fi;
#else
  store_relaxed(PUB, SEQ(entry_of(oldest)), oldest | RETIRED); /* sync claim: a fence follows */
#endif
  mark_slot(k);
  batch = batch | BIT(k);
  oldest++
}

#ifdef ONLY_LEFT
#define may_retire (oldest < s && oldest < left)
#define has_place (oldest + RING != s)
#else
#define may_retire (oldest < s)
#define has_place true
#endif

inline retire_batch() {
  together {
    retire_oldest();
    if
    :: may_retire -> retire_oldest() /* two marks, one fence */
    :: true
    fi
  }
}

/* Of the slots that were claimed when their publications were retired, those that seem free now. */
inline mark_set_aside() {
  load_claims();
  together {
    batch = aside & ~claims; /* a first look: no fence for those that are still claimed */
    claims = 0;
    aside = aside & ~batch;
#ifdef BROKEN_REUSE_WITHOUT_CHECK
    free = free | batch;
    batch = 0
#else
    k = 0;
    do
    :: k < SLOTS && (batch & BIT(k)) -> mark_slot(k); k++
    :: k < SLOTS && !(batch & BIT(k)) -> k++
    :: k == SLOTS -> break
    od
#endif
  }
}

/* Of the marked slots, in `batch`, those that nobody claims become free, the others set aside. */
inline decide() {
#ifndef BROKEN_CLAIMS_BEFORE_MARK
  load_claims();
#endif
  decide_with_claims()
}

inline decide_with_claims() {
  together {
    k = 0;
    do
    :: k < SLOTS && !(batch & BIT(k)) -> k++
    :: k < SLOTS && (batch & BIT(k)) && (claims & BIT(k)) ->
       store_word(release, k, holds[k]); /* sync resolve: it resolves again */
       aside = aside | BIT(k);
       k++
    :: k < SLOTS && (batch & BIT(k)) && !(claims & BIT(k)) ->
       store_word(relaxed, k, NONE);
       holds[k] = 0;
       free = free | BIT(k);
       k++
    :: k == SLOTS -> break
    od;
    batch = 0;
    claims = 0
  }
}

/* The reader sees our mark, or we see his claim. */
inline fence_and_decide() {
#ifndef BROKEN_NO_FENCE
  fence_seq_cst(PUB); /* sync claim, sync resolve */
#endif
  decide()
}

inline retire() {
#ifdef BROKEN_CLAIMS_BEFORE_MARK
  load_claims();
#endif
#ifdef BROKEN_CURSORS_AFTER_CLAIMS
  load_claims(); /* nothing keeps the loads of the cursors before these */
  load_cursors();
  retire_batch();
  left = 0;
  fence_seq_cst(PUB);
  decide_with_claims()
#elif defined(ONLY_LEFT)
  load_cursors();
  if
  :: may_retire -> retire_batch(); left = 0; fence_and_decide()
  :: else -> left = 0
  fi
#elif defined(CURSORS)
  load_cursors();
  retire_batch();
  left = 0;
  fence_and_decide()
#else
  retire_batch();
  fence_and_decide()
#endif
}

inline look_at_set_aside() {
  mark_set_aside();
  if
#ifdef BROKEN_REUSE_WITHOUT_FENCE
  :: batch -> decide()
#else
  :: batch -> fence_and_decide()
#endif
  :: else
  fi
}

#ifdef ADMISSION
/* loan() as it should be. */
inline find_free_slot() {
  if
  :: !free && aside -> look_at_set_aside()
  :: else
  fi;
  do
  :: !free && oldest < s -> retire()
  :: else -> break
  od;
  looks = 0;
  do /* a reader may have moved from slot to slot while she went through them */
  :: !free && looks < LOOKS -> look_at_set_aside(); looks++
  :: else -> break
  od;
  looks = 0;
  assert(free)
}
#else
/* Anything that loan() may do: one step towards a free slot. She comes back if it finds none. */
inline find_free_slot() {
  if
  :: free && has_place
  :: !free && aside -> look_at_set_aside()
  :: !(free && has_place) && oldest < s -> retire()
#ifdef EVICTS
  :: !free && !evicted ->
     store_seq_cst(PUB, STATE(0), 1); /* sync admit */
     fence_seq_cst(PUB); /* sync admit: what he claimed is written only after the state */
     evicted = true
#endif
  fi
}
#endif

inline publish() {
  k = (free & 1 -> 0 : (free & 2 -> 1 : 2));
  free = free & ~BIT(k);
  store_relaxed(PUB, PAYLOAD(k), s); /* plain stores: the slot is hers alone */
  if
  :: oldest + RING == s -> /* the entry is still live: its slot is set aside and decided later */
     store_relaxed(PUB, SEQ(entry_of(s)), oldest | RETIRED); /* sync publish: a fence follows */
     aside = aside | BIT(slot_of[entry_of(s)]);
     oldest++
  :: else
  fi;
#ifndef BROKEN_NO_FENCE_BEFORE_FIELDS
  fence_release(PUB); /* sync publish: who sees a new field sees the old publication retired */
#endif
  store_relaxed(PUB, FIELD(entry_of(s)), k);
  store_word(release, k, s); /* sync resolve */
#ifdef BROKEN_PUBLISH_RELAXED
  store_relaxed(PUB, SEQ(entry_of(s)), s);
#else
  store_seq_cst(PUB, SEQ(entry_of(s)), s); /* sync publish */
#endif
  holds[k] = s;
  slot_of[entry_of(s)] = k;
  k = 0;
  s++
}

proctype publisher() {
  byte s = 1;      /* the next publication */
  byte oldest = 1; /* publications oldest .. s-1 are live in the ring */
  byte free = BIT(SLOTS) - 1, aside, batch, claims; /* sets of slots */
  byte holds[SLOTS];                                /* publication in a slot that is not free */
  byte slot_of[RING];                               /* slot of a live entry */
  byte k, x, looks, left, start;
  bool evicted;

  {
    do
    :: s > LAST -> break
#ifdef ATTACHES
    :: s <= LAST && !attached ->
       atomic {
#ifdef BROKEN_STARTS_BELOW_TAIL
         start = 1;
#else
         start = oldest; /* the tail: nothing above was retired without a mark */
#endif
         store_release(PUB, START, start) /* sync admit */
       }
#endif
    :: s <= LAST ->
       find_free_slot();
       if
       :: free && has_place -> together { publish() }
       :: else
       fi
    od
  } unless { atomic { publisher_killed -> sb_empty(PUB) -> publisher_dead = true } }
}

/* ---- Readers ---- */

#ifdef CURSORS
#ifdef BROKEN_LOOKS_BACK
#define wanted(w) true
#else
#define wanted(w) ((w) >= next)
#endif
#else
#define wanted(w) true
#endif
#define live(w) ((w) != 0 && !((w) & RETIRED) && wanted(w))

/* Find a publication to take. Entries that are empty or retired are passed over here: to look at
 * them changes nothing. */
inline find_live_entry(r) {
#if defined(BROKEN_TAKE_RELAXED) && defined(ARM)
  atomic { /* nothing keeps these loads in order: here the field comes first */
    if
    :: i = 0
    :: i = 1
    fi;
    load(r, FIELD(i), k)
  };
end_field_first:
  atomic { live(mem[SEQ(i)]) -> load(r, SEQ(i), holds) }
#else
  atomic {
    if
    :: live(mem[SEQ(0)]) -> i = 0
    :: live(mem[SEQ(1)]) -> i = 1
    fi;
    load(r, SEQ(i), holds) /* sync publish: acquire */
  };
  load(r, FIELD(i), k)
#endif
}

inline set_claim(r) {
#if defined(BROKEN_CLAIM_BY_STORE)
  store_relaxed(r, CLAIM(r), BIT(k))
#elif defined(BROKEN_CLAIM_ACQ_REL)
  rmw_acq_rel(r, CLAIM(r), BIT(k))
#else
  rmw_seq_cst(r, CLAIM(r), BIT(k)) /* sync claim, sync resolve */
#endif
}

inline forget() {
  d_step { i = 0; k = 0; holds = 0; x = 0; held = false }
}

inline move_cursor(r, to_) {
#ifdef BROKEN_LEFT_RELAXED
  store_relaxed(r, CURSOR(r), to_)
#else
  store_release(r, CURSOR(r), to_) /* sync cursor: after the claim */
#endif
}

/* take(): afterwards the claim holds if `held`, else it is gone. */
inline take(r) {
  find_live_entry(r);
#ifdef BROKEN_CURSOR_FIRST
  next = holds + 1;
  move_cursor(r, next);
#endif
  set_claim(r);
#ifdef BROKEN_NO_RECHECK
  held = true
#else
  atomic {
#ifdef BROKEN_RECHECK_ACQUIRE
    load(r, SEQ(i), x);
#else
    load_seq_cst(r, SEQ(i), x); /* sync claim: he sees the mark, or the publisher his claim */
#endif
    held = (x == holds);
    x = 0;
    i = 0;
    if
    :: held
    :: else -> store_release(r, CLAIM(r), 0); forget()
    fi
  }
#endif
#if defined(CURSORS)
  if
  :: held && holds >= next ->
     next = holds + 1;
#ifndef BROKEN_CURSOR_FIRST
     move_cursor(r, next)
#endif
  :: else
  fi
#endif
}

/* To read once, after any time, is to read as often and as late as one likes. */
inline read_payload(r) {
#if defined(EVICTS) && defined(BROKEN_INTACT_BEFORE_READ)
  load(r, STATE(r), x);
  load(r, PAYLOAD(k), payload_seen);
  assert(payload_seen == holds || x /* evicted */);
#elif defined(EVICTS)
  load(r, PAYLOAD(k), payload_seen);
  load(r, STATE(r), x); /* sync admit: intact(), after an acquire fence */
  assert(payload_seen == holds || x /* evicted */);
#else
  load(r, PAYLOAD(k), payload_seen);
  assert(payload_seen == holds);
#endif
  payload_seen = 0
}

inline read_and_release(r) {
#if defined(BROKEN_RELEASE_RELAXED) && defined(ARM)
  store_relaxed(r, CLAIM(r), 0); /* nothing keeps his loads before this store */
  read_payload(r)
#elif defined(EVICTS)
  read_payload(r);
  store_release(r, CLAIM(r), 0)
#else
  atomic {
    read_payload(r);
    store_release(r, CLAIM(r), 0) /* sync release */
  }
#endif
}

#ifndef RESOLVER
proctype reader(byte r) {
  byte i, k, holds, x, payload_seen;
  bool held;
#ifdef CURSORS
  byte next = 1;
#ifdef ATTACHES
end_attaches:
  if
  :: r == 0
  :: atomic { r == 1 && mem[START] -> load(1, START, next) } /* sync admit */
  fi;
#endif
#endif
end:
  do
#ifdef CURSORS
  :: next < LAST -> next++; move_cursor(r, next) /* he does not want it, or it was gone */
#endif
  :: take(r);
     if
     :: held -> read_and_release(r); forget()
     :: else
     fi
  od
}

#else
/* ---- Chained hold ---- */

#define reference(s, k) ((s) * 4 + (k))

/* Holds a frame, hands on a reference to it, and keeps the claim until the resolver is done. */
proctype detector() {
  byte i, k, holds, x, payload_seen;
  bool held;
end:
  do
  :: take(0);
     if
     :: held -> break
     :: else
     fi
  od;
  store_release(0, EVENT, reference(holds, k));
end_waits:
  atomic { mem[DONE] -> load(0, DONE, x) }; /* to look earlier changes nothing */
  read_and_release(0)
}

#define EXPIRED 1
#define HELD 2
#define TIMED_OUT 3

/* `holds` and k say which publication in which slot. */
inline resolve() {
  resolved = 0;
  load(1, WORD(k), x); /* sync resolve: acquire */
  if
  :: x == holds || x == (holds | DECIDING) ->
     set_claim(1);
     do
     :: resolved == 0 ->
#ifdef BROKEN_DEATH_SEEN_LATE
        load_seq_cst(1, WORD(k), x);
        dead = publisher_dead; /* x may be old by now: she may have decided and written before */
#else
        dead = publisher_dead; /* first this: whatever she stored before she died is visible then */
        load_seq_cst(1, WORD(k), x); /* sync resolve */
#endif
        if
        :: x == holds -> resolved = HELD
#ifdef BROKEN_DECIDING_IS_SUCCESS
        :: x == (holds | DECIDING) -> resolved = HELD
#else
        :: x == (holds | DECIDING) && dead -> resolved = HELD
        :: x == (holds | DECIDING) && !dead /* she decides soon: look again */
        :: x == (holds | DECIDING) && !dead -> resolved = TIMED_OUT
#endif
        :: x != holds && x != (holds | DECIDING) -> resolved = EXPIRED
        fi
     :: resolved == HELD -> break
     :: resolved == EXPIRED || resolved == TIMED_OUT ->
        store_release(1, CLAIM(1), 0); /* sync release */
        break
     od
  :: else -> resolved = EXPIRED
  fi;
  dead = false;
  x = 0
}

proctype resolver() {
  byte event, k, holds, x, payload_seen, resolved;
  bool dead;
end:
  atomic { mem[EVENT] -> load(1, EVENT, event) }; /* to look earlier changes nothing */
  holds = event / 4;
  k = event % 4;
  event = 0;
  if
  :: true -> /* as intended: while the detector keeps its claim */
     resolve();
     assert(resolved != EXPIRED);
     if
     :: resolved == HELD -> read_and_release(1)
     :: else
     fi
  :: true
  fi;
  store_release(1, DONE, 1);
end_stale: /* a copy of the reference, used when the detector may have let go */
  do
  :: resolve();
     if
     :: resolved == HELD -> read_and_release(1)
     :: else
     fi
  od
}
#endif

init {
  atomic {
    byte p = 0;
    do
    :: p < CPUS -> run memory(p); p++
    :: else -> break
    od;
    run publisher();
#ifdef RESOLVER
    run detector();
    run resolver()
#else
    run reader(0);
    run reader(1)
#endif
  }
#ifdef PUBLISHER_DIES
end:
  publisher_killed = true
#endif
}
