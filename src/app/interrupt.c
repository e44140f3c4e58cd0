/* interrupt: see interrupt.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t pending;

static void on_signal(int number) {
  (void)number;
  pending = 1;
}

void interrupt_catch(void) {
  struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a waiting read returns */
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
}

bool interrupt_pending(void) { return pending; }

bool interrupt_take(void) {
  bool was = pending;
  pending = 0;
  return was;
}
