/* The kernel's part of sleeping: futex_wait, futex_waitv, futex_wake. Include after
 * store_buffer.pml.
 *
 * Linux orders both sides itself: a waiter is queued before its word is compared, a waker orders
 * its earlier stores before it looks for waiters (the barriers described at the top of
 * kernel/futex/waitwake.c). So here: a call starts when the caller's own buffer is empty, and
 * "compare and queue" is one step, as "wake all" is.
 *
 * Every real sleep ends after a while and the sleeper looks again. Here it does not, since that
 * would hide a lost wake-up: a sleep ends by a wake-up, or by the timer if the model's time_out(p)
 * allows it (used for deaths, which wake nobody). One wait of a run may return for nothing (a
 * signal); that is INTERRUPTS.
 */

#ifndef INTERRUPTS
#define INTERRUPTS 1
#endif

byte sleeps_on[CPUS]; /* word + 1; 0 = runs */
byte interrupts = INTERRUPTS;

/* `same`: the words still are what the caller believes. */
inline kernel_wait(p_, w1_, same) {
  atomic {
    kernel_entry(p_) ->
    if
    :: same -> sleeps_on[p_] = w1_ + 1 sb_note(p_, "sleeps")
    :: !(same) sb_note(p_, "does not sleep: the word has changed")
    :: interrupts > 0 -> interrupts-- sb_note(p_, "does not sleep: interrupted")
    fi
  };
end_asleep:
  atomic { sleeps_on[p_] == 0 || time_out(p_) -> sleeps_on[p_] = 0 }
}

#define futex_wait(p, w, v) kernel_wait(p, w, mem[w] == v)

/* Two words are compared; here wakers wake the first. */
#define futex_waitv(p, w, v, w2, v2) kernel_wait(p, w, mem[w] == v && mem[w2] == v2)

inline futex_wake(p_, w_) {
  atomic {
    kernel_entry(p_) ->
    d_step {
      sb_i = 0;
      do
      :: sb_i < CPUS && sleeps_on[sb_i] == w_ + 1 -> sleeps_on[sb_i] = 0; sb_i++
      :: sb_i < CPUS && sleeps_on[sb_i] != w_ + 1 -> sb_i++
      :: sb_i == CPUS -> break
      od;
      sb_i = 0
    }
    sb_note(p_, "wakes")
  }
}
