/* clock: the two clocks of the program. SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H
#include <stdint.h>

uint64_t clock_ns(void);        /* monotonic; for durations and deadlines */
uint64_t clock_thread_ns(void); /* processor time of this thread */
int64_t clock_wall_s(void);     /* seconds since 1970, UTC */
int64_t clock_wall_ms(void);    /* milliseconds since 1970, UTC */

#endif
