/* interrupt: Ctrl-C as something to ask about. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_INTERRUPT_H
#define APP_INTERRUPT_H
#include <stdbool.h>

/* From here on SIGINT ends nothing: it interrupts a read that waits and is remembered. */
void interrupt_catch(void);
bool interrupt_pending(void);
bool interrupt_take(void); /* pending? It is forgotten then. */

#endif
