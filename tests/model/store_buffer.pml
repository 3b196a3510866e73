/* A memory in which stores become visible late.
 *
 * SPIN executes one statement after the other: everybody sees a store at once. Real processors keep
 * stores in a buffer for a while. This file gives every processor of a model such a buffer, so that
 * a missing fence or an order that is too weak shows as a wrong result.
 *
 *   processor --store--> [ oldest ... newest ] --flush, some time later--> mem[]
 *   processor <--load--- its newest store to that word in the buffer, else mem[]
 *
 * `mem[]` is one memory for all: a store that one other processor sees, all see (multi-copy
 * atomicity, which Armv8 and x86 have). A processor is one process of the model; `memory(p)` is the
 * process that flushes the buffer of processor p whenever it likes.
 *
 * Two modes:
 *   -DARM  Stores leave the buffer in any order, except: stores to one word; a release or seq_cst
 *          store leaves after all older ones; nothing passes a release fence. A seq_cst store stays
 *          in the buffer like any other, and only seq_cst loads of the same processor wait for it
 *          (Armv8: STLR, then LDAR). They do not wait for a release store: weaker than Armv8, which
 *          has one instruction for both, but it is all that C++ promises.
 *   -DX86  Stores leave the buffer oldest first. A seq_cst store or read-modify-write waits until
 *          its own buffer is empty (XCHG, LOCK).
 *
 * Loads happen where they are written. Where Arm does not promise that (a load before or after a
 * relaxed access), the broken variants themselves take the other order; the place says so.
 *
 * A model defines, before it includes this file:
 *   CPUS        number of processors
 *   LOCATIONS   number of words
 *   SB_SIZE     stores that a buffer can hold, at most 10
 *   sb_room(p)  optional: processor p holds fewer
 * A store to a full buffer waits: what needs more stores under way than that is not explored.
 */

#if defined(ARM) == defined(X86)
#error "choose -DARM or -DX86"
#endif
#if SB_SIZE > 10
#error "memory(p) flushes ten entries at most"
#endif

#ifndef sb_room
#define sb_room(p) SB_SIZE
#endif

/* What a buffered store must wait for. */
#define RELAXED 1 /* nothing but older stores to the same word */
#define RELEASE 2 /* all older stores */
#define SEQ_CST 3 /* all older stores; later seq_cst loads of this processor wait for it */
#define BARRIER 4 /* not a store: a release fence, nothing newer passes anything older */

typedef Buffer {
  byte count;
  short ready;  /* bit i: entry i may be flushed now; follows from the rest */
  byte seq_cst; /* how many of the entries are SEQ_CST; follows from the rest */
  byte loc[SB_SIZE];
  byte val[SB_SIZE];
  byte kind[SB_SIZE];
}

byte mem[LOCATIONS];
Buffer sb[CPUS];

hidden byte sb_i, sb_j; /* loop counters inside d_step; no part of the state */
hidden byte sb_ok;

/* ---- Inside of the buffer. All of these run inside a d_step. ---- */

/* May entry `at` leave, with the older ones 0 .. at-1 still there? Sets its bit in `ready`. */
inline sb_set_ready(p_, at_) {
#ifdef X86
  sb[p_].ready = 1
#else
  sb_ok = (at_ == 0 || sb[p_].kind[at_] == RELAXED);
  sb_j = 0;
  do
  :: sb_j < at_ ->
     sb_ok = sb_ok && sb[p_].loc[sb_j] != sb[p_].loc[at_] && sb[p_].kind[sb_j] != BARRIER;
     sb_j++
  :: else -> break
  od;
  sb[p_].ready = sb[p_].ready | (sb_ok << at_)
#endif
}

inline sb_push(p_, loc_, val_, kind_) {
  d_step {
    sb[p_].count < sb_room(p_) ->
    sb[p_].loc[sb[p_].count] = loc_;
    sb[p_].val[sb[p_].count] = val_;
    sb[p_].kind[sb[p_].count] = kind_;
    sb[p_].seq_cst = sb[p_].seq_cst + (kind_ == SEQ_CST);
    sb_set_ready(p_, sb[p_].count);
    sb[p_].count++
  }
}

inline sb_remove(p_, at_) {
  sb_i = at_;
  do
  :: sb_i + 1 < sb[p_].count ->
     sb[p_].loc[sb_i] = sb[p_].loc[sb_i + 1];
     sb[p_].val[sb_i] = sb[p_].val[sb_i + 1];
     sb[p_].kind[sb_i] = sb[p_].kind[sb_i + 1];
     sb_i++
  :: else -> break
  od;
  sb[p_].loc[sb_i] = 0;
  sb[p_].val[sb_i] = 0;
  sb[p_].kind[sb_i] = 0;
  sb[p_].count--
}

inline sb_flush(p_, at_) {
  mem[sb[p_].loc[at_]] = sb[p_].val[at_];
  sb[p_].seq_cst = sb[p_].seq_cst - (sb[p_].kind[at_] == SEQ_CST);
  sb_remove(p_, at_);
  do /* a fence with nothing older has done its work */
  :: sb[p_].count > 0 && sb[p_].kind[0] == BARRIER -> sb_remove(p_, 0)
  :: else -> break
  od;
  sb[p_].ready = 0;
  sb_i = 0;
  do
  :: sb_i < sb[p_].count -> sb_set_ready(p_, sb_i); sb_i++
  :: else -> break
  od;
  sb_i = 0
}

inline sb_read(p_, loc_, into_) {
  into_ = mem[loc_];
  sb_i = 0;
  do
  :: sb_i < sb[p_].count ->
     if
     :: sb[p_].kind[sb_i] != BARRIER && sb[p_].loc[sb_i] == loc_ -> into_ = sb[p_].val[sb_i]
     :: else
     fi;
     sb_i++
  :: else -> break
  od;
  sb_i = 0
}

#define sb_empty(p_) (sb[p_].count == 0)

/* ---- What the processes use. Named like the C++ they stand for. ---- */

#ifdef TRAIL /* to read a counter-example: every access is printed */
#define sb_say(p_, what_, word_, loc_, val_) \
  ; printf("cpu %d: ", p_); printf(what_); printf(word_); printf(" [word %d] %d\n", loc_, val_)
#define sb_note(p_, what_) ; printf("cpu %d: ", p_); printf(what_); printf("\n")
#else
#define sb_say(p_, what_, word_, loc_, val_)
#define sb_note(p_, what_)
#endif

#define store_relaxed(p_, loc_, val_) \
  atomic { sb_push(p_, loc_, val_, RELAXED) sb_say(p_, "store relaxed ", #loc_, loc_, val_) }
#define store_release(p_, loc_, val_) \
  atomic { sb_push(p_, loc_, val_, RELEASE) sb_say(p_, "store release ", #loc_, loc_, val_) }
#ifdef X86
#define store_seq_cst(p_, loc_, val_) \
  atomic { \
    sb_push(p_, loc_, val_, SEQ_CST) sb_say(p_, "store seq_cst ", #loc_, loc_, val_); \
    sb_empty(p_) \
  }
#else
#define store_seq_cst(p_, loc_, val_) \
  atomic { sb_push(p_, loc_, val_, SEQ_CST) sb_say(p_, "store seq_cst ", #loc_, loc_, val_) }
#endif

/* A read-modify-write of a word that only this processor writes. Nobody can come between its two
 * halves, so only the visibility of its store matters: on Arm without LSE (LDAXR, STLXR) later
 * loads that are not seq_cst pass it, exactly like a seq_cst store. On x86 each one empties the
 * buffer. */
#ifdef X86
#define rmw_seq_cst(p_, loc_, val_) \
  atomic { \
    sb_push(p_, loc_, val_, SEQ_CST) sb_say(p_, "rmw ", #loc_, loc_, val_); \
    sb_empty(p_) \
  }
#define rmw_acq_rel(p_, loc_, val_) rmw_seq_cst(p_, loc_, val_)
#else
#define rmw_seq_cst(p_, loc_, val_) \
  atomic { sb_push(p_, loc_, val_, SEQ_CST) sb_say(p_, "rmw seq_cst ", #loc_, loc_, val_) }
#define rmw_acq_rel(p_, loc_, val_) \
  atomic { sb_push(p_, loc_, val_, RELEASE) sb_say(p_, "rmw acq_rel ", #loc_, loc_, val_) }
#endif

/* A relaxed or an acquire load. */
#define load(p_, loc_, into_) \
  atomic { d_step { sb_read(p_, loc_, into_) } sb_say(p_, "load ", #loc_, loc_, into_) }
#define load_seq_cst(p_, loc_, into_) \
  atomic { \
    d_step { sb[p_].seq_cst == 0 -> sb_read(p_, loc_, into_) } \
    sb_say(p_, "load seq_cst ", #loc_, loc_, into_) \
  }

#define fence_seq_cst(p_) atomic { sb_empty(p_) sb_note(p_, "fence seq_cst") }

#ifdef X86
#define fence_release(p_) skip /* stores leave in order anyway */
#else
inline fence_release(p_) {
  if
  :: sb_empty(p_)
  :: else -> sb_push(p_, 0, 0, BARRIER)
  fi
}
#endif

/* A system call with a full barrier in it. */
#define kernel_entry(p_) sb_empty(p_)

#define sb_is_ready(p_, at_) (sb[p_].ready & (1 << at_))

proctype memory(byte p) {
  byte at;
end:
  do
  :: atomic {
       if
       :: sb_is_ready(p, 0)
       :: sb_is_ready(p, 1) -> at = 1
       :: sb_is_ready(p, 2) -> at = 2
       :: sb_is_ready(p, 3) -> at = 3
       :: sb_is_ready(p, 4) -> at = 4
       :: sb_is_ready(p, 5) -> at = 5
       :: sb_is_ready(p, 6) -> at = 6
       :: sb_is_ready(p, 7) -> at = 7
       :: sb_is_ready(p, 8) -> at = 8
       :: sb_is_ready(p, 9) -> at = 9
       fi;
#ifdef TRAIL
       printf("  of cpu %d: [word %d] %d becomes visible\n", p, sb[p].loc[at], sb[p].val[at]);
#endif
       d_step { sb_flush(p, at); at = 0 }
     }
  od
}
