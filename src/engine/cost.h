/* cost: what a step costs on this machine, learnt from the steps that were made. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * A step with d decode rows and p prompt rows is taken to last  base + slope · d + prompt · p.  base and slope follow the steps without
 * prompt rows (least squares, older steps count less), `prompt` follows what prompt rows added. The true curve is bent: a few rows beside a
 * pass that waits for memory are nearly free, many are not. That does no harm, since each figure is learnt at the sizes that it is then used
 * for. None of this touches a result: only which rows share a step. */
#ifndef ENGINE_COST_H
#define ENGINE_COST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cost {
  double n, d, dd, t, dt; /* weighted sums over steps without prompt rows: 1, rows, rows², ns, rows · ns */
  double base_ns, slope_ns;
  double prompt_ns;       /* of one prompt row beside others; 0: not known */
  unsigned n_with_prompt; /* steps with both kinds of rows since the last without prompt rows */
};

/* A step was made. */
void cost_observe(struct cost *c, size_t decode_rows, size_t prompt_rows, uint64_t ns);
/* A step of so many decode rows alone; 0: not known yet. */
double cost_decode_ns(const struct cost *c, size_t decode_rows);
/* The prompt rows with which a step of so many decode rows lasts `slowdown` times as long as without; 0: not known yet. */
size_t cost_prompt_rows(const struct cost *c, size_t decode_rows, double slowdown);
/* What decoding alone takes is not known, or not any more: the next step should be one without prompt rows. */
bool cost_is_stale(const struct cost *c);
/* One more decode row; 0: not known yet. */
double cost_row_ns(const struct cost *c);

#endif
