/* int_template: products of integer panels: their tiles in order, and a specialization for each pack. Included once per instruction set.
 * SPDX-License-Identifier: Apache-2.0
 * The file included before defines int_tile and INT_COLUMNS, INT_WIDE_COLUMNS (with 16-bit activations): the columns of its widest register
 * tile; INT_HALVES: whether columns left over go through tiles of 4 and 2 before single ones; INT_OPENS: that it has int_open, which writes a
 * panel of int_opened_bytes a block to the scratch, and int_tile_opened, which reads it. */

#ifdef INT_OPENS
/* Many rows of a K pack, in whole tiles, read panels that are opened once. Returns how many rows those are. */
static inline __attribute__((always_inline)) size_t int_opened_rows(const struct product *p, size_t panel_begin, size_t panel_end,
                                                                    enum pack pack, bool wide) {
  const size_t most = wide ? INT_WIDE_COLUMNS : INT_COLUMNS, rows = p->n_rows / most * most;
  size_t bytes = p->job->w->n_blocks * int_opened_bytes(pack), room = p->scratch_bytes / bytes;
  if (!pack_form(pack).sub || p->n_rows < KERNELS_OPEN_ROWS || room == 0) return 0;
  for (size_t begin = panel_begin, n; begin < panel_end; begin += n) {
    n = panel_end - begin < room ? panel_end - begin : room;
    for (size_t k = 0; k < n; k++) int_open(p->scratch + k * bytes, p->job->w, begin + k, pack);
    for (size_t i = 0; i < rows; i += most)
      for (size_t k = 0; k < n; k++) int_tile_opened(p, begin + k, p->scratch + k * bytes, i, (int)most, pack, wide);
  }
  return rows;
}
#endif

/* Columns of tiles through all panels of the call, whose weights are in the second cache for the next. */
static inline __attribute__((always_inline)) void int_column(const struct product *p, size_t panel_begin, size_t panel_end, size_t first,
                                                             int columns, enum pack pack, bool wide) {
  for (size_t panel = panel_begin; panel < panel_end; panel++) int_tile(p, panel, first, columns, first == 0, pack, wide);
}

static inline __attribute__((always_inline)) void int_panels(const struct product *p, size_t panel_begin, size_t panel_end, enum pack pack,
                                                             bool wide) {
  const size_t most = wide ? INT_WIDE_COLUMNS : INT_COLUMNS;
  size_t i = 0;
#ifdef INT_OPENS
  i = int_opened_rows(p, panel_begin, panel_end, pack, wide);
#endif
  for (; i + most <= p->n_rows; i += most) int_column(p, panel_begin, panel_end, i, (int)most, pack, wide);
  for (; INT_HALVES && most > 4 && i + 4 <= p->n_rows; i += 4) int_column(p, panel_begin, panel_end, i, 4, pack, wide);
  for (; INT_HALVES && most > 2 && i + 2 <= p->n_rows; i += 2) int_column(p, panel_begin, panel_end, i, 2, pack, wide);
  for (; i < p->n_rows; i++) int_column(p, panel_begin, panel_end, i, 1, pack, wide);
}

static inline __attribute__((always_inline)) void linear_int(const struct product *p, size_t panel_begin, size_t panel_end, bool wide) {
  switch (p->job->w->pack) {
    case PACK_Q8: int_panels(p, panel_begin, panel_end, PACK_Q8, wide); break;
    case PACK_Q4: int_panels(p, panel_begin, panel_end, PACK_Q4, wide); break;
    case PACK_Q4M: int_panels(p, panel_begin, panel_end, PACK_Q4M, wide); break;
    case PACK_Q5: int_panels(p, panel_begin, panel_end, PACK_Q5, wide); break;
    case PACK_Q5M: int_panels(p, panel_begin, panel_end, PACK_Q5M, wide); break;
    case PACK_S8: int_panels(p, panel_begin, panel_end, PACK_S8, wide); break;
    case PACK_K2M: int_panels(p, panel_begin, panel_end, PACK_K2M, wide); break;
    case PACK_K3: int_panels(p, panel_begin, panel_end, PACK_K3, wide); break;
    case PACK_K4M: int_panels(p, panel_begin, panel_end, PACK_K4M, wide); break;
    case PACK_K5M: int_panels(p, panel_begin, panel_end, PACK_K5M, wide); break;
    case PACK_K6: int_panels(p, panel_begin, panel_end, PACK_K6, wide); break;
    default: break;
  }
}

static void linear_i8(const struct product *p, size_t panel_begin, size_t panel_end) { linear_int(p, panel_begin, panel_end, false); }
static void linear_i16(const struct product *p, size_t panel_begin, size_t panel_end) { linear_int(p, panel_begin, panel_end, true); }
