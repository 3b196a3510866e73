/* Counting claims: who keeps what he promised is never evicted, who does not is not in the way.
 *
 * One publisher, one reader, SLOTS slots that are set aside: their publications are retired, and
 * somebody seemed to claim them. Each slot has words of its own, which the publisher reads one after
 * the other while the reader lets go of slots and claims others.
 *
 * Words (one writer each):
 *   WORD(k)      publisher  slot k: LIVE, DECIDING, NONE (as in claim.pml, without the number)
 *   TAKEN(k)     reader     "I read slot k": it was taken
 *   RESOLVED(k)  reader     the same: it was resolved
 *
 * In a window the publisher marks the slots as DECIDING and goes PASSES times through the words.
 * Claims that she sees in every pass are lasting. Slots without one are free; who has more than
 * MAX_HELD is evicted.
 *
 * The reader never has more than MAX_HELD claims at one moment. He resolves and lets go as often as
 * he likes. Nothing can be taken, but for one step that he began before the window: it may claim
 * any slot, in vain, because he has read an entry or a WORD long ago (`stale`).
 *
 * Proven:
 *   honest       he is not evicted, and no slot is free that he holds
 *   not_starved  (HOSTILE) whatever he writes, a window ends with a free slot or his eviction
 *
 * C++ tags: `// sync resolve`, `// sync claim`, `// sync release`, as in claim.pml.
 *
 * -DSLOTS=n -DMAX_HELD=n -DPASSES=n -DWINDOWS=n
 * -DHOSTILE      the reader changes any claim at any time
 * -DBROKEN_...   one rule left out; each must be caught
 */

#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef MAX_HELD
#define MAX_HELD 2
#endif
#ifndef PASSES
#define PASSES 4
#endif
#ifndef WINDOWS
#define WINDOWS 2
#endif

#define WORD(k) (k)
#define TAKEN(k) (SLOTS + (k))
#define RESOLVED(k) (2 * SLOTS + (k))

#define CPUS 2
#define LOCATIONS (3 * SLOTS)
#define READER 0
#define PUB 1
#define SB_SIZE 4
#include "store_buffer.pml"

#define LIVE 0
#define DECIDING 1
#define NONE 2

#define BIT(k) (1 << (k))

byte window;      /* counts the windows; patience is longer than one */
byte held_taken;  /* what the reader holds and may read */
byte held_resolved;
bool evicted;

/* ---- Publisher ---- */

/* Claims of all slots, one after the other; what was not seen before stays out. */
inline pass() {
  k = 0;
  do
  :: k < SLOTS ->
     if
     :: taken & BIT(k) ->
        load(PUB, TAKEN(k), x); /* sync release: acquire */
        taken = (x -> taken : taken & ~BIT(k))
     :: else
     fi;
     if
     :: resolved & BIT(k) ->
        load(PUB, RESOLVED(k), x); /* sync release: acquire */
        resolved = (x -> resolved : resolved & ~BIT(k))
     :: else
     fi;
     x = 0;
     k++
  :: else -> break
  od;
  k = 0
}

inline add_up() {
  d_step {
    claims = 0;
    k = 0;
    do
    :: k < SLOTS -> claims = claims + ((taken >> k) & 1) + ((resolved >> k) & 1); k++
    :: else -> break
    od;
    k = 0
  }
}

inline mark_all() {
  atomic {
    k = 0;
    do
    :: k < SLOTS && (aside & BIT(k)) -> store_relaxed(PUB, WORD(k), DECIDING); k++
    :: k < SLOTS && !(aside & BIT(k)) -> k++
    :: k == SLOTS -> break
    od;
    k = 0
  }
}

proctype publisher() {
  byte aside = BIT(SLOTS) - 1, free, taken, resolved, claims, passes, k, x;

  do
  :: window == WINDOWS || evicted || !aside -> break
  :: else ->
     atomic { /* 1, 2, ..: a resolver's patience began in one of them */
       window++;
       taken = aside;
       resolved = aside
     }
#ifndef BROKEN_NOT_MARKED
     mark_all(); /* sync resolve: relaxed, a fence follows */
#endif
#ifndef BROKEN_NO_FENCE
     fence_seq_cst(PUB); /* sync claim, sync resolve */
#endif
     do
     :: passes < PASSES ->
        pass();
        add_up();
        passes++;
        if
        :: claims <= MAX_HELD -> break
        :: else
        fi
     :: else -> break
     od;
     passes = 0;
     atomic {
       evicted = (claims > MAX_HELD);
#ifndef HOSTILE
       assert(!evicted /* honest */);
#endif
#ifdef BROKEN_DODGED
       taken = aside; /* only for the count: what is free is looked at again */
       resolved = aside
#endif
       claims = 0
     };
#ifdef BROKEN_DODGED
     pass();
#endif
     atomic {
       free = (evicted -> aside : aside & ~(taken | resolved));
#ifdef BROKEN_NOT_MARKED
       free = 0; /* only counted */
#endif
#ifdef HOSTILE
       assert(evicted || free /* not_starved */);
       free = 0; /* used, published, retired and claimed again */
#else
       assert(!(free & (held_taken | held_resolved)) /* honest */);
#endif
       aside = aside & ~free;
       k = 0;
       do
       :: k < SLOTS && (free & BIT(k)) -> store_relaxed(PUB, WORD(k), NONE); k++
       :: k < SLOTS && (aside & BIT(k)) -> store_release(PUB, WORD(k), LIVE); k++
       :: k < SLOTS && !((free | aside) & BIT(k)) -> k++
       :: k == SLOTS -> break
       od;
       k = 0;
       free = 0;
       taken = 0;
       resolved = 0
     }
  od
}

/* ---- Reader ---- */

inline any_slot() {
  if
  :: k = 0
  :: k = 1
#if SLOTS > 2
  :: k = 2
#endif
  fi
}

#ifdef HOSTILE
proctype reader() {
  byte k;
end:
  do
  :: atomic { any_slot(); store_relaxed(READER, TAKEN(k), 1); k = 0 }
  :: atomic { any_slot(); store_relaxed(READER, TAKEN(k), 0); k = 0 }
  od
}
#else
#define held_count \
  ((held_taken & 1) + (held_taken >> 1 & 1) + (held_taken >> 2 & 1) + (held_resolved & 1) + \
   (held_resolved >> 1 & 1) + (held_resolved >> 2 & 1))

proctype reader() {
  byte k, x, began;
  bool stale = true;
end:
  do
  :: atomic {
       held_taken ->
       any_slot();
       if
       :: held_taken & BIT(k) ->
          held_taken = held_taken & ~BIT(k);
          store_release(READER, TAKEN(k), 0) /* sync release */
       :: else
       fi;
       k = 0
     }
  :: atomic {
       held_resolved ->
       any_slot();
       if
       :: held_resolved & BIT(k) ->
          held_resolved = held_resolved & ~BIT(k);
          store_release(READER, RESOLVED(k), 0) /* sync release */
       :: else
       fi;
       k = 0
     }
  :: atomic { stale && held_count < MAX_HELD -> stale = false; any_slot() };
     if
     :: !(held_taken & BIT(k)) ->
        rmw_seq_cst(READER, TAKEN(k), 1);
        store_release(READER, TAKEN(k), 0)
     :: !(held_resolved & BIT(k)) ->
        rmw_seq_cst(READER, RESOLVED(k), 1);
        store_release(READER, RESOLVED(k), 0)
     fi;
     k = 0
  :: atomic { held_count < MAX_HELD -> any_slot(); load(READER, WORD(k), x) };
     if
     :: x == NONE || (held_resolved & BIT(k)) /* a second one sets no bit */
     :: else ->
        rmw_seq_cst(READER, RESOLVED(k), 1); /* sync resolve */
        began = 0;
        do
        :: atomic {
             load_seq_cst(READER, WORD(k), x); /* sync resolve */
             if
             :: x == LIVE -> held_resolved = held_resolved | BIT(k); break
             :: x == NONE -> store_release(READER, RESOLVED(k), 0); break
             :: x == DECIDING && began == 0 -> began = window
#ifdef BROKEN_SHORT_PATIENCE
             :: x == DECIDING -> store_release(READER, RESOLVED(k), 0); break
#else
             :: x == DECIDING && began != 0 && began != window -> /* timeout */
                store_release(READER, RESOLVED(k), 0);
                break
             :: x == DECIDING && began == window -> /* look again */
                mem[WORD(k)] != DECIDING || began != window
#endif
             fi
           }
        od
     fi;
     atomic { k = 0; x = 0; began = 0 }
  od
}
#endif

init {
  atomic {
    byte k = 0;
#ifdef HOSTILE
    do
    :: k < SLOTS -> mem[TAKEN(k)] = 1; k++
    :: else -> break
    od;
#else
    do /* what he holds already */
    :: k < MAX_HELD -> held_taken = held_taken | BIT(k); mem[TAKEN(k)] = 1; k++
    :: k < MAX_HELD -> held_resolved = held_resolved | BIT(k); mem[RESOLVED(k)] = 1; k++
    :: true -> break
    od;
#endif
    k = 0;
    do
    :: k < CPUS -> run memory(k); k++
    :: else -> break
    od;
    run publisher();
    run reader()
  }
}
