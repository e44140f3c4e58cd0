/* int_template: products of integer panels: their tiles in order, and a specialization for each pack. Included once per instruction set.
 * SPDX-License-Identifier: Apache-2.0
 * The file included before defines int_tile and INT_COLUMNS, INT_WIDE_COLUMNS (with 16-bit activations): the columns of its widest register
 * tile; INT_HALVES: whether columns left over go through tiles of 4 and 2 before single ones; INT_MANY_ROWS, where it has one: a function that
 * multiplies the first rows of a product with many, and returns how many it took. */

/* Columns of tiles through all panels of the call, whose weights are in the second cache for the next. */
static inline __attribute__((always_inline)) void int_column(const struct product *p, size_t panel_begin, size_t panel_end, size_t first,
                                                             int columns, enum pack pack, bool wide) {
  for (size_t panel = panel_begin; panel < panel_end; panel++) int_tile(p, panel, first, columns, first == 0, pack, wide);
}

static inline __attribute__((always_inline)) void int_panels(const struct product *p, size_t panel_begin, size_t panel_end, enum pack pack,
                                                             bool wide) {
  const size_t most = wide ? INT_WIDE_COLUMNS : INT_COLUMNS;
  size_t i = 0;
#ifdef INT_MANY_ROWS
  i = INT_MANY_ROWS(p, panel_begin, panel_end, wide);
#endif
  for (; i + most <= p->n_rows; i += most) int_column(p, panel_begin, panel_end, i, (int)most, pack, wide);
  for (; INT_HALVES && most > 4 && i + 4 <= p->n_rows; i += 4) int_column(p, panel_begin, panel_end, i, 4, pack, wide);
  for (; INT_HALVES && most > 2 && i + 2 <= p->n_rows; i += 2) int_column(p, panel_begin, panel_end, i, 2, pack, wide);
  for (; i < p->n_rows; i++) int_column(p, panel_begin, panel_end, i, 1, pack, wide);
}

/* Packs whose blocks have scales of their own, with activations of either width. */
static inline __attribute__((always_inline)) bool int_simple(const struct product *p, size_t panel_begin, size_t panel_end, bool wide) {
  switch (p->job->w->pack) {
    case PACK_Q8: int_panels(p, panel_begin, panel_end, PACK_Q8, wide); return true;
    case PACK_Q4: int_panels(p, panel_begin, panel_end, PACK_Q4, wide); return true;
    case PACK_Q4M: int_panels(p, panel_begin, panel_end, PACK_Q4M, wide); return true;
    case PACK_Q5: int_panels(p, panel_begin, panel_end, PACK_Q5, wide); return true;
    case PACK_Q5M: int_panels(p, panel_begin, panel_end, PACK_Q5M, wide); return true;
    case PACK_S8: int_panels(p, panel_begin, panel_end, PACK_S8, wide); return true;
    default: return false;
  }
}

static void linear_i8(const struct product *p, size_t panel_begin, size_t panel_end) {
  bool known = int_simple(p, panel_begin, panel_end, false);
  assert(known);
  (void)known;
}

static void linear_i16(const struct product *p, size_t panel_begin, size_t panel_end) {
  if (int_simple(p, panel_begin, panel_end, true)) return;
  switch (p->job->w->pack) {
    case PACK_K2M: int_panels(p, panel_begin, panel_end, PACK_K2M, true); break;
    case PACK_K3: int_panels(p, panel_begin, panel_end, PACK_K3, true); break;
    case PACK_K4M: int_panels(p, panel_begin, panel_end, PACK_K4M, true); break;
    case PACK_K5M: int_panels(p, panel_begin, panel_end, PACK_K5M, true); break;
    case PACK_K6: int_panels(p, panel_begin, panel_end, PACK_K6, true); break;
    default: assert(!"a pack with integers");
  }
}
